"""How a prompt's cost grows with its length N where evictions keep a share of it: near to a convex function of N.

A layer's budget is near κ·N, to within `_Shared.off` keys.  With b(N) the budget before it is rounded, and C the chunk,

    pairs      ≈ ∫ min(x, b(N) + C/2) dx over 0..N      convex in N, for b(N) is a constant and then a line
    selection  ≈ max(1 - κ, 0)·N/C · score(κ·N + C)     as many events, each of which finds the budget and a chunk

What they differ by from the counts is at most linear in N.  But counts fall: as the budget passes the end of a chunk,
the event there finds nothing to evict.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

from attention.cost import Depth, Growth, Heads

if TYPE_CHECKING:
    from attention.eviction.base import Eviction

ROUNDED: Final = 5
"""Keys that rounding moves a layer's budget by at most: the mean's, times less than 2, and that of what a layer has."""


class _Shared(NamedTuple):
    """What a layer keeps of a prompt: κ·N keys, and how far off it is at most; tokens after which rounding recurs."""

    slope: Fraction
    off: int
    period_tokens: int

    @classmethod
    def of(cls, variant: Eviction, depth: Depth, chunk: int) -> _Shared:
        assert variant.share is not None
        least = variant.at_length(1).budget
        assert isinstance(least, int)
        period = chunk * variant.share.denominator * variant.policy.budget_steps(depth.n_layers)
        start = math.ceil(least / variant.share)
        low, high = (variant.at_length(n).layer_budget(depth) for n in (start, start + period))
        return cls(Fraction(high - low, period), ROUNDED + 3 * least, period)

    def settled_tokens(self, share: Fraction, chunk: int) -> int:
        """From here on what always stays is within the share, and the budget on its side of the prompt's end."""
        apart = abs(1 - self.slope)
        return math.ceil(self.off / share) + (math.ceil((self.off + chunk) / apart) if apart else 0) + chunk


def growth_in_chunks(variant: Eviction, heads: Heads, depth: Depth, chunk: int) -> Growth:
    """Of `evict`, where a score's FLOPs are linear in the keys, and a memory's in queries and pairs."""
    assert variant.share is not None
    kept = _Shared.of(variant, depth, chunk)
    pair, score = _pair_flops(variant, heads), _score_flops_per_key(variant, heads, chunk)
    times = Fraction(kept.off, chunk) + 1
    apart = pair * 2 * chunk**2 + score * (times * (kept.off + chunk) + chunk)
    apart_per_token = pair * (ROUNDED + 2) + 2 * score * times
    return Growth(
        kept.settled_tokens(variant.share, chunk), kept.period_tokens, math.ceil(2 * apart),
        math.ceil(2 * apart_per_token), falls=True,
    )  # fmt: skip


def growth_after_prompt(variant: Eviction, heads: Heads, depth: Depth) -> Growth:
    """Of `evict_after` where layers differ: full attention, and one choice where a layer keeps less than the prompt.

    The first layer of a pyramid may keep less of short prompts, and all of long ones; where its budget grows as the
    prompt does, rounding decides for ever.
    """
    assert variant.share is not None
    first = _Shared.of(variant, Depth(0, depth.n_layers), 1)
    rounded = math.ceil(2 * depth.n_layers / min(variant.share, 1 - variant.share))
    settled = first.settled_tokens(variant.share, 1) + rounded
    if depth.layer == 0 and first.slope == 1:
        per_token = math.ceil(2 * Fraction(_chosen(variant, heads, settled), settled))
        return Growth(settled, first.period_tokens, ripple_flops_per_token=per_token, falls=True)
    return Growth(settled, ripple_flops=_chosen(variant, heads, settled), falls=True)


def _chosen(variant: Eviction, heads: Heads, tokens: int) -> int:
    """FLOPs of choosing among so many."""
    policy, pairs = variant.policy, heads.n_heads * tokens * (tokens + 1) // 2
    observed = policy.useful_observe_flops(heads, tokens, pairs)
    return observed + policy.useful_score_flops(heads, tokens, variant.at_length(tokens).retention)


def _pair_flops(variant: Eviction, heads: Heads) -> int:
    """Of a pair in every query head: scores, values, and what the policy remembers."""
    one, two = (variant.policy.useful_observe_flops(heads, 2, pairs * heads.n_heads) for pairs in (1, 2))
    return 4 * heads.head_dim * heads.n_heads + two - one


def _score_flops_per_key(variant: Eviction, heads: Heads, chunk: int) -> Fraction:
    """At most, and at most so many more for one key more; linear from a window's size on."""
    retention = variant.at_length(1).retention
    low = max(chunk, variant.policy.window(retention))
    few, many = (variant.policy.useful_score_flops(heads, keys, retention) for keys in (low, 2 * low))
    slope = Fraction(many - few, low)
    return slope + max(few - slope * low, Fraction(0))
