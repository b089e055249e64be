"""The variants that a layout can name: one line each."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from attention.block_routed import BlockRouted
from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.full import Full
from attention.sliding_window import SlidingWindow
from attention.span_mixture import SpanMixture
from attention.token_routed import Routed
from attention.variant import Variant

VARIANTS: Final[MappingProxyType[str, type[Variant]]] = MappingProxyType(
    {variant.name: variant for variant in (Full, SlidingWindow, SpanMixture, Routed, BlockRouted, Evict, EvictAfter)}
)
