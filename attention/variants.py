"""The variants that a layout can name; one of your own comes in by `VARIANTS.register`."""

from __future__ import annotations

from typing import Final

from attention.block_indexed import BlockIndexed
from attention.block_routed import BlockRouted
from attention.block_ruled import BlocksByRule
from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.full import Full
from attention.gated_delta import GatedDelta
from attention.mixer import Mixer
from attention.pooled_indexed import PooledIndexed
from attention.registry import Registry
from attention.sliding_window import SlidingWindow
from attention.span_mixture import SpanMixture
from attention.token_indexed import TokenIndexed
from attention.token_routed import Routed

VARIANTS: Final[Registry[type[Mixer]]] = Registry(
    "attention variant",
    lambda variant: variant.name,
    (
        Full,
        SlidingWindow,
        SpanMixture,
        Routed,
        BlockRouted,
        BlocksByRule,
        BlockIndexed,
        TokenIndexed,
        PooledIndexed,
        Evict,
        EvictAfter,
        GatedDelta,
    ),
)
