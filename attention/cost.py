"""What a layer's attention costs in one step: pairs, and the FLOPs of choosing them.

`useful` counts what a variant's definition asks for, `executed` what this project's program runs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from attention.checks import whole
from attention.pattern import SpanPattern, cache_tokens, holds_everything

if TYPE_CHECKING:
    from attention.backends.base import Pattern


@dataclass(frozen=True)
class Heads:
    """What attention needs to know of a model: N, K, H and D (0 where no router reads the layer's input).

    Raises `ValueError` for what is no number of things, and for query heads that are no multiple of the others.
    """

    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_model: int = 0

    def __post_init__(self) -> None:
        for name in ("n_heads", "n_kv_heads", "head_dim", "d_model"):
            whole(name, getattr(self, name), 0)
        if self.n_heads % max(self.n_kv_heads, 1):
            raise ValueError(f"n_heads {self.n_heads} is not a multiple of n_kv_heads {self.n_kv_heads}")


class Depth(NamedTuple):
    """Which layer, an int (or an int32 scalar in a program), and of how many: for what differs from layer to layer."""

    layer: Any
    n_layers: int


ONLY_LAYER: Final = Depth(0, 1)


class Cost(NamedTuple):
    """Pairs of (query, key), all query heads, at 4·H FLOPs each; FLOPs of the products that chose them: routers, gates,
    scores; and FLOPs of products with a recurrent state, or with means of keys, which are no pairs.  Sorting, packing
    and compaction are no products: they show in the measured time only."""

    pairs: int
    selection_flops: int = 0
    state_flops: int = 0

    def mixing_flops(self, heads: Heads) -> int:
        """Scores and values, or what a mixer has in their place."""
        return 4 * heads.head_dim * self.pairs + self.state_flops

    def flops(self, heads: Heads) -> int:
        """All of it, selection too."""
        return self.mixing_flops(heads) + self.selection_flops


class Lot(NamedTuple):
    """FLOPs that are drawn: `mean` has the coefficients of 1, n and n², and what n tokens cost together has a standard
    error of at most `error_flops` · n^`power`; 1/2 where what a token costs is bounded, 3/2 where it grows with n."""

    mean: tuple[Fraction, Fraction, Fraction]
    error_flops: float
    power: float


@dataclass(frozen=True)
class Growth:
    """How the useful FLOPs A(n) of a prompt grow with its length n, so that a search need not look at every length.

    A(n) does not fall, or where it `falls`, by ripple(n) at most: A(m) <= A(n) + ripple(n) for m < n.
    From `settled_tokens` on it follows a quadratic Q, |A(n) - Q(n)| <= ripple(n): the one that it
    meets every `period_tokens`, or the lot's mean.  From the first token on it follows some convex g,
    g(n) <= A(n) <= g(n) + ripple(n), unless lots are drawn from spans without bound.

    Attributes:
        period_tokens: A(n + period) - A(n) is linear in n, from `settled_tokens` on; None where it is by lot.
        ripple_flops, ripple_flops_per_token: a and b of ripple(n) = a + b·n.
        lot: what is by lot, None if nothing is.
        falls: whether a longer prompt may cost less.
    """

    settled_tokens: int
    period_tokens: int | None = 1
    ripple_flops: int = 0
    ripple_flops_per_token: int = 0
    lot: Lot | None = None
    falls: bool = False


def span_keys(pattern: SpanPattern, n_heads: int, start: int, tokens: int) -> np.ndarray:
    """Keys that each query start..start+tokens-1 of a prompt sees, summed over the query heads: int64 [T]."""
    seen_t, keys_t = np.arange(start + 1, start + tokens + 1), np.zeros(tokens, np.int64)
    for (span, sink), heads in Counter(pattern.per_head(n_heads)).items():
        keys_t += heads * (np.minimum(seen_t, span) + np.clip(seen_t - span, 0, sink))
    return keys_t


def sawtooth_ripple(tokens: int) -> int:
    """How far the sum of t mod C + 1 over t < n lies below n(C + 1)/2 at most: C²/8, C = `tokens`."""
    return -(-tokens * tokens // 8)


def executed_pairs(
    pattern: Pattern, heads: Heads, q_pos_t: np.ndarray, kv_pos_s: np.ndarray, impl: str = "auto"
) -> int:
    """Pairs that `attend` computes in one call, all query heads: the closed form of the backend that `impl` means."""
    from attention.backends.registry import counted_as  # here, for what a definition asks for needs no kernel

    backend = counted_as(impl, q_pos_t.size, kv_pos_s.size)
    return backend.executed_pairs(pattern, heads.n_heads, heads.n_kv_heads, q_pos_t, kv_pos_s)


def step_positions(pattern: SpanPattern, tokens: int, start: int, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a step's queries and of the slots that they attend to, -1 for an empty one.

    As a model's cache lays them out when each step follows the one before: the first attends to its own tokens; later
    a layer that can hold the whole sequence attends to its cache, a bounded one to [what it kept, its own tokens].
    """
    end = start + tokens
    own = np.arange(start, end, dtype=np.int32)
    if start == 0:
        return own, own
    slots = cache_tokens(pattern, capacity)
    if holds_everything(pattern, slots):
        seen = np.full(slots, -1, np.int32)
        seen[:end] = np.arange(end)
        return own, seen
    kept = np.full(slots, -1, np.int32)
    before = np.arange(start, dtype=np.int32)
    needed = before[(before < max(pattern.sink)) | (before > start - max(pattern.span))]
    kept[: needed.size] = needed
    return own, np.concatenate([kept, own])
