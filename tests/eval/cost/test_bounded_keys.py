"""What a bounded variant's count tends to: the patterns' own counts, from the length on that is said."""

from __future__ import annotations

import pytest

from attention.cost import Heads
from attention.evict import Evict
from attention.eviction.knorm import Knorm
from attention.full import Full
from attention.pattern import UNBOUNDED, SpanPattern
from attention.sliding_window import SlidingWindow
from eval.cost.bounded_keys import _bounded_heads, bounded_keys

HEADS = Heads(9, 3, 64)


def test_bounded_keys_are_the_patterns_own_counts():
    assert bounded_keys(Full(), HEADS) == (1, 0.0)
    assert bounded_keys(SlidingWindow(7), HEADS) == (7, 3.0)
    evict = Evict(Knorm(), budget=64, chunk=16)
    span, offset = bounded_keys(evict, HEADS)
    assert span >= 2 * offset > 1
    per_token = evict.limiting_flops(HEADS)
    for chunks in (9, 500):  # the formula is exact at the ends of chunks
        tokens = 16 * chunks
        assert tokens > span
        assert evict.useful(HEADS, tokens).flops(HEADS) == pytest.approx(
            float(per_token) * (tokens - offset), rel=1e-12
        )
    span, offset = _bounded_heads(SpanPattern((5, UNBOUNDED, 11), (2, 0, 0)))
    assert span == 11
    for n in (11, 12, 30):
        seen = [(s < 2 or p - s < 5) + (p - s < 11) for p in range(n) for s in range(p + 1)]
        assert sum(seen) == pytest.approx((7 + 11) * (n - offset))
    assert _bounded_heads(SpanPattern((5, 11), (UNBOUNDED, 0))) == (11, 5.0)
