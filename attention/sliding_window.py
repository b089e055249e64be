"""Sliding-window attention, with optional attention sinks.

window=3, sinks=1 (`s` a sink seen from beyond the window):

    key   0 1 2 3 4 5
    q 0   x
    q 1   x x
    q 2   x x x
    q 3   s x x x
    q 4   s   x x x
    q 5   s     x x x
"""

from __future__ import annotations

from dataclasses import dataclass

from attention.pattern import SpanPattern
from attention.variant import Variant


@dataclass(frozen=True)
class SlidingWindow(Variant):
    """`swa(window, sinks=0)`: the last `window` keys, the query's own included, and the first `sinks` keys.

    Window as in Mistral 7B (Jiang et al., 2310.06825) and Gemma; sinks as in StreamingLLM (Xiao et al.,
    2309.17453), at their original positions.  Libraries that give a window as "l keys to the left" (FlashAttention,
    `jax.nn.dot_product_attention`) mean window = l + 1.
    """

    name = "swa"
    example = "swa(7, sinks=2)"

    window: int
    sinks: int = 0

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"swa: window must be at least 1 key (the query's own), got {self.window}")
        if self.sinks < 0:
            raise ValueError(f"swa: sinks must be at least 0 keys, got {self.sinks}")

    def pattern(self) -> SpanPattern:
        return SpanPattern(span=(self.window,), sink=(self.sinks,))
