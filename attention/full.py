"""Full causal attention: every query sees every earlier key and its own.

key   0 1 2 3
q 0   x
q 1   x x
q 2   x x x
q 3   x x x x
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attention.pattern import SpanPattern
from attention.variant import Variant

FULL: Final = "full"
"""The layout that all others are compared with."""


@dataclass(frozen=True)
class Full(Variant):
    """`full`: N(N+1)/2 pairs per head (Vaswani et al., 1706.03762, decoder)."""

    name = FULL
    example = FULL

    def pattern(self) -> SpanPattern:
        return SpanPattern()
