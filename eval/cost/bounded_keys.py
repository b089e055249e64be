"""What a bounded variant's count tends to, which the fit of its times takes as known: limit·N less the keys missing.

A query sees all W keys of a window only from the W-th on, so a window's exact pair count is W·(N - (W - 1)/2).
"""

from __future__ import annotations

import math
from typing import Final

from attention.cost import Heads
from attention.mixer import Mixer
from attention.pattern import UNBOUNDED, SpanPattern, visible_pairs

FAR_TOKENS: Final = 2**20
"""Past every window and budget that anybody measures."""


def bounded_keys(variant: Mixer, heads: Heads) -> tuple[int, float]:
    """(span, offset) in tokens of a fitted curve (`eval.report.crossover_fit.Kernel`); (1, 0) where it has no bound.

    What is bounded but no window (an eviction, routes that all are) follows limit·N - missing from about 2·offset on.
    """
    limit = variant.limiting_flops(heads)
    if variant.has_only_a_pattern:
        return _bounded_heads(variant.pattern())
    if limit is None:
        return 1, 0.0
    offset = FAR_TOKENS - variant.useful(heads, FAR_TOKENS).flops(heads) / limit
    return max(1, math.ceil(2 * offset)), float(offset)


def _bounded_heads(pattern: SpanPattern) -> tuple[int, float]:
    heads = [
        SpanPattern((span,), (sink,))
        for span, sink in pattern.per_head(max(len(pattern.span), len(pattern.sink)))
        if span + sink < UNBOUNDED
    ]
    limits = [head.span[0] + head.sink[0] for head in heads]
    missing = [limit**2 - visible_pairs(head, 1, limit) for head, limit in zip(heads, limits, strict=True)]
    return max(limits, default=1), sum(missing) / max(sum(limits), 1)
