"""Who sees whom: the one description of a span pattern, and everything that follows from it.

A query at position p in head n sees the key at position s iff

    0 <= s <= p   and   ( s < sink[n]   or   p - s < span[n, p] )

`span` and `sink` count keys; a span includes the query's own key.  A `SpanPattern` has them as constants, one per head;
`Spans` as operands of a program, where a router gave each query its own.  The dense mask, the exact pair counts,
the tile map that kernels walk and the keys that a cache must keep are all derived here, so that no count
is ever kept beside a mask.  Positions are data: a slot with position -1 is empty and nobody sees it, which is
why a chunk, a padded batch, a ring and an evicted cache need no special case.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from attention.checks import whole

Array = Any  # a jax.Array or a numpy.ndarray: these derivations run on the host and under a trace alike

OnEither = jax.Array | np.ndarray
"""The same, where a shape is said beside it."""

UNBOUNDED = int(np.iinfo(np.int32).max)
"""A span or a sink that no position reaches, as an int32."""


@dataclass(frozen=True)
class SpanPattern:
    """Static spans and sinks, in keys.

    Each tuple has one entry for all query heads, or one per query head, or one for every so many heads in a row (a
    key-value head's group).
    `SpanPattern()` is full causal attention; `SpanPattern(span=(1024,), sink=(4,))` is StreamingLLM's.
    Raises `ValueError` for a span below 1 key (the query's own) or a sink below 0.

    Examples:
        >>> from attention import SpanPattern
        >>> SpanPattern(span=(2, 8), sink=(1,)).per_head(4)
        ((2, 1), (2, 1), (8, 1), (8, 1))
    """

    span: tuple[int, ...] = (UNBOUNDED,)
    sink: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name, values, least in (("span", self.span, 1), ("sink", self.sink, 0)):
            keys = values if isinstance(values, tuple) else ()
            if not keys or any(not _whole(key) or not least <= key <= UNBOUNDED for key in keys):
                raise ValueError(f"{name} must hold keys in {least}..{UNBOUNDED} per head, a tuple, got {values!r}")

    def per_head(self, n_heads: int) -> tuple[tuple[int, int], ...]:
        """(span, sink) of each of `n_heads` query heads."""
        spans, sinks = (_spread(values, n_heads) for values in (self.span, self.sink))
        return tuple(zip(spans, sinks, strict=True))

    @property
    def is_uniform(self) -> bool:
        """Whether every head sees the same keys."""
        return len(set(self.span)) == 1 and len(set(self.sink)) == 1


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


class Spans(NamedTuple):
    """Spans and sinks as operands: data that a program reads, so that other values are no other program.

    Attributes:
        span_bmt: int32 [B or 1, M, T or 1], a span for each query; M is 1 (all heads alike), K (one per key-value
            head) or N (one per query head).
        sink_m: int32 [1 or M].
        span_e: int32 [E], ascending: the values that `span_bmt` may have, where they are few.  Kernels may then pack
            the queries, so that a tile has one span.
    """

    span_bmt: Array
    sink_m: Array
    span_e: Array | None = None


def head_spans(pattern: SpanPattern | Spans, n_heads: int) -> tuple[Array, Array]:
    """Spans [B or 1, N, T or 1] and sinks [N] of each query head."""
    if isinstance(pattern, SpanPattern):
        span_n, sink_n = np.asarray(pattern.per_head(n_heads), np.int32).T
        return span_n[None, :, None], sink_n
    span_bmt, sink_m, _ = pattern
    return span_bmt.repeat(n_heads // span_bmt.shape[1], axis=1), sink_m.repeat(n_heads // sink_m.size)


def _spread(values: tuple[int, ...], n_heads: int) -> tuple[int, ...]:
    if n_heads % len(values):
        raise ValueError(f"the pattern has {len(values)} heads, the model has {n_heads}")
    return tuple(value for value in values for _ in range(n_heads // len(values)))


def visible(q_pos: Array, kv_pos: Array, span: Array, sink: Array) -> Array:
    """The description itself, on arrays that broadcast against each other: True where the query sees the key."""
    return (kv_pos >= 0) & (kv_pos <= q_pos) & ((kv_pos < sink) | (q_pos - kv_pos < span))


# ---------------------------------------------------------------------------------------------------- counts


def _ramp(n: int, cap: int) -> int:
    """sum of min(i, cap) over i = 1..n, zero for n <= 0: the keys that n queries in a row see through `cap`."""
    n = max(n, 0)
    head = min(n, cap)
    return head * (head + 1) // 2 + cap * (n - head)


def visible_pairs(pattern: SpanPattern, n_heads: int, tokens: int, start: int = 0) -> int:
    """Exact number of visible (query, key) pairs, summed over the query heads.

    The queries stand at positions start..start+tokens-1 and every earlier key is still there, so head n counts
    ramp(N, span) + ramp(N - span, sink) pairs for a prompt of N: within the span, then sinks beyond it.

    Examples:
        >>> from attention.pattern import SpanPattern, visible_pairs
        >>> visible_pairs(SpanPattern(), n_heads=1, tokens=4)
        10
        >>> visible_pairs(SpanPattern(span=(2,)), n_heads=3, tokens=4)
        21
    """
    if not _whole(tokens) or not _whole(start) or tokens < 0 or start < 0:
        raise ValueError(f"tokens and start must not be negative, and whole, got tokens={tokens}, start={start}")

    def up_to(n: int, span: int, sink: int) -> int:
        return _ramp(n, span) + _ramp(n - span, sink)

    alike = Counter(pattern.per_head(n_heads))
    return sum(heads * (up_to(start + tokens, *head) - up_to(start, *head)) for head, heads in alike.items())


# --------------------------------------------------------------------------------------------------- tile map


class Tile(enum.IntEnum):
    """What a kernel does with a tile of (queries x keys)."""

    SKIP = 0  # nothing visible: never visited
    PARTIAL = 1  # visited, with the mask
    DENSE = 2  # visited, everything visible: no mask needed


def tile_bounds(pos: Array, tile: int, xp: ModuleType = np) -> tuple[Array, Array, Array]:
    """Per tile of the last axis: lowest and highest position, and whether any slot is empty.

    `pos` [..., S] with S a multiple of `tile`.  A tile of nothing but empty slots gets lowest > highest.
    """
    tiles = pos.reshape(*pos.shape[:-1], -1, tile)
    empty = tiles < 0
    lowest = xp.where(empty, UNBOUNDED, tiles).min(-1)
    return lowest, tiles.max(-1), empty.any(-1)


class QueryBounds(NamedTuple):
    """Per tile of queries: lowest and highest position, and of `left` = position - span, the last key that a query
    does not see (but for sinks), the lowest and highest.  Empty queries do not count."""

    low: Array
    high: Array
    left_low: Array
    left_high: Array


def query_bounds(q_pos: Array, span: Array, tile: int, xp: ModuleType = np) -> QueryBounds:
    """Bounds of the tiles of the last axis, whose length is a multiple of `tile`; `span` broadcasts against `q_pos`."""
    low, high, _ = tile_bounds(q_pos, tile, xp)
    q_pos, left = xp.broadcast_arrays(q_pos, q_pos - span)
    empty, left = ((x).reshape(*x.shape[:-1], -1, tile) for x in (q_pos < 0, left))
    return QueryBounds(low, high, xp.where(empty, UNBOUNDED, left).min(-1), xp.where(empty, -UNBOUNDED, left).max(-1))


def classify_tiles(q: QueryBounds, kv_bounds: tuple[Array, Array, Array], sink: Array, xp: ModuleType = np) -> Array:
    """`Tile` of each (query tile, key tile), from `query_bounds` and `tile_bounds`; arguments broadcast.

    Exact for tiles of consecutive positions and one span.  Otherwise it may call a tile PARTIAL that could be skipped
    or left unmasked, never the other way round.
    """
    kv_low, kv_high, kv_empty = kv_bounds
    # The farthest that any of the queries looks, and the nearest that one of them stops, decide "some" and "every".
    some = (kv_low <= kv_high) & (kv_low <= q.high) & ((kv_low < sink) | (kv_high > q.left_low))
    # An empty query (padding) may be computed unmasked: nobody reads it.  An empty key may not.
    beyond_sinks = xp.maximum(kv_low, sink)  # the farthest key that a span must reach, where there is one
    every = ~kv_empty & (q.low <= q.high) & (kv_high <= q.low) & ((kv_high < sink) | (q.left_high < beyond_sinks))
    return xp.where(some, xp.where(every, int(Tile.DENSE), int(Tile.PARTIAL)), int(Tile.SKIP))


def pad_positions(pos: Array, tile: int, xp: ModuleType = np) -> Array:
    """`pos` [..., S] filled up with empty slots to a multiple of `tile`."""
    missing = -pos.shape[-1] % tile
    return xp.pad(pos, [(0, 0)] * (pos.ndim - 1) + [(0, missing)], constant_values=-1)


# ------------------------------------------------------------------------------------------------------ cache


def cache_tokens(pattern: SpanPattern, capacity_tokens: int) -> int:
    """Slots that a layer's cache needs between steps, for sequences of up to `capacity_tokens`.

    A later query at p sees at most the span - 1 keys before it and the sinks.  The longest span rules: a grouped
    cache is shared by all its heads.
    """
    return min(whole("capacity_tokens", capacity_tokens, 0), _most_kept_tokens(pattern))


def _most_kept_tokens(pattern: SpanPattern) -> int:
    """What a later query may see, however long the sequence."""
    return max(pattern.span) - 1 + max(pattern.sink)


def holds_everything(pattern: SpanPattern, slots: int) -> bool:
    """Whether a cache of `slots` is as large as the sequences it is for, so that nothing ever has to go."""
    return slots < _most_kept_tokens(pattern)


def still_needed(pattern: SpanPattern, kv_pos: Array, next_pos: Array) -> Array:
    """True for the slots that a query at `next_pos` or later can see; the others may go."""
    return visible(next_pos, kv_pos, max(pattern.span), max(pattern.sink))
