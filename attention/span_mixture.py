"""A span for each head, fixed: some look far, some near.

rules=2|full, two query heads, sinks=1 (`s` a sink seen from beyond the span):

    key   0 1 2 3 4      key   0 1 2 3 4
    q 0   x              q 0   x
    q 1   x x            q 1   x x
    q 2   s x x          q 2   x x x
    q 3   s   x x        q 3   x x x x
    q 4   s     x x      q 4   x x x x x
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from attention.cost import ONLY_LAYER, Depth, Growth, Heads
from attention.parameters import SpanRule, spelling
from attention.pattern import UNBOUNDED, SpanPattern
from attention.variant import Variant


@dataclass(frozen=True)
class SpanMixture(Variant):
    """`spans(rules, sinks=64)`: span_h = alpha_h + beta_h · N keys, N the length of the whole sequence.

    One rule for all heads, one per key-value head, or one per query head: `spans(256|64+0.25N|full)`.  Mixture of
    attention spans (Fu et al., 2406.14909); with `full` and one short span, DuoAttention (Xiao et al., 2410.10819).
    The cache of a layer keeps what its longest span looks back.
    """

    name = "spans"
    example = "spans(0.25N, sinks=2)"

    rules: tuple[SpanRule, ...]
    sinks: int = 64

    def __post_init__(self) -> None:
        for rule in self.rules:
            if not (rule.share or 1 <= rule.keys <= UNBOUNDED):
                raise ValueError(f"spans: a span must be at least 1 key (the query's own), got {rule}")
        if not self.rules:
            raise ValueError("spans: at least one span is needed, for all heads")
        if self.sinks < 0:
            raise ValueError(f"spans: sinks must be at least 0 keys, got {self.sinks}")

    def pattern(self) -> SpanPattern:
        if any(rule.share for rule in self.rules):
            raise ValueError(
                f"spans({spelling(self.rules)}) depends on the length of the sequence: take it `at_length` first"
            )
        return SpanPattern(tuple(rule.keys for rule in self.rules), (self.sinks,))

    @property
    def has_only_a_pattern(self) -> bool:
        """Only where no span grows with the sequence."""
        return not any(rule.share for rule in self.rules)

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        return super().limiting_flops(heads, depth) if self.has_only_a_pattern else None

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        if self.has_only_a_pattern:
            return super().token_flops(heads, start, tokens, depth)
        n, keys_t = np.arange(start, start + tokens + 1), np.zeros(tokens, np.int64)
        for (keys, share), times in Counter(self.rules).items():
            span = np.clip(keys + n * share.numerator // share.denominator, 1, UNBOUNDED)
            keys_t += times * np.diff(_ramp(n, span) + _ramp(n - span, self.sinks))
        return 4 * heads.head_dim * heads.n_heads // len(self.rules) * keys_t

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth | None:
        """A span that grows does so by whole keys: a step of it is worth less than a key for every query."""
        if self.has_only_a_pattern:
            return super().growth(heads, depth)
        settled = [1]
        for keys, share in self.rules:
            if share < 1 and keys < UNBOUNDED:  # the span is at least a key, and more than it and the sinks are held
                settled += [math.ceil((keys + self.sinks + 1) / (1 - share)), math.ceil(1 / share) if share else 1]
        period = math.lcm(*(rule.share.denominator for rule in self.rules))
        return Growth(max(settled), period, ripple_flops_per_token=8 * heads.head_dim * heads.n_heads)

    def at_length(self, total_tokens: int) -> SpanMixture:
        if not any(rule.share for rule in self.rules):
            return self
        rules = tuple(SpanRule(rule.at_length(total_tokens)) for rule in self.rules)
        return dataclasses.replace(self, rules=rules)

    def check(self, heads: Heads) -> None:
        if len(self.rules) not in (1, heads.n_kv_heads, heads.n_heads):
            raise ValueError(
                f"{self}: {len(self.rules)} spans for {heads.n_heads} query heads; accepted: 1, {heads.n_kv_heads} "
                f"(one per key-value head) or {heads.n_heads}"
            )


def _ramp(n: np.ndarray, cap: np.ndarray | int) -> np.ndarray:
    """sum of min(i, cap) over i = 1..n for each entry."""
    growing = np.clip(n, 0, cap)
    return growing * (growing + 1) // 2 + cap * (np.maximum(n, 0) - growing)
