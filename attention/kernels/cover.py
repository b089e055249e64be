"""Which blocks of keys a tile of queries visits: the sizes, and the count that needs no run.

`attention.kernels.blockwise` executes this cover; `granules_visited` counts it on the host, for `executed` FLOPs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from attention.pattern import (
    Array,
    QueryBounds,
    SpanPattern,
    Spans,
    Tile,
    classify_tiles,
    pad_positions,
    query_bounds,
    tile_bounds,
)

GRANULE = 64
"""Keys in a granule: where a block may start."""


@dataclass(frozen=True)
class Blocks:
    """Queries in a tile and keys in a block; `kv_block` is a multiple of `GRANULE`.

    `whole`: a visit computes a whole block, always.  Then what a query gets does not depend, not even in its last bit,
    on which later queries share its tile, as they do where queries are packed.
    """

    q_tile: int
    kv_block: int
    whole: bool = False

    @property
    def visit_sizes(self) -> tuple[int, ...]:
        """Granules that one visit may compute: a whole block, a half, or one; the smallest that ends a run is taken."""
        whole = self.kv_block // GRANULE
        if self.whole:
            return (whole,)
        return tuple(sorted({1, -(-whole // 2), whole}))


def walk_name(blocks: Blocks) -> str:
    """What a program calls one walk over the keys; `visit_name` is a visit inside it.

    The loops of a walk are as long as positions say, so whoever counts a program's cost finds the walk by its name and
    asks `walk_visits`.
    """
    return f"span_walk_{blocks.q_tile}x{blocks.kv_block}" + "_whole" * blocks.whole


def visit_name(granules: int) -> str:
    """What a program calls one visit of a block of so many granules."""
    return f"visit_{granules}_granules"


def blocks_of_walk(name: str) -> Blocks | None:
    """The sizes of the walk of that name, None if it is no walk's."""
    sizes = re.fullmatch(r"span_walk_(\d+)x(\d+)(_whole)?", name)
    return Blocks(int(sizes[1]), int(sizes[2]), bool(sizes[3])) if sizes else None


def choose_blocks(pattern: SpanPattern | Spans, q_tokens: int, kv_tokens: int, group_size: int) -> Blocks:
    """Tile sizes by what the pattern leaves to see.

    A product wants several hundred rows (queries x heads of a group) and columns; measured on CPUs, where a larger
    block falls out of the cache.  A bounded span gets smaller query tiles, since q_tile / span is wasted, and blocks
    that divide span + q_tile evenly, a single one up to 1,152 keys; a span that no query of this step outgrows is
    as good as none.  Packed queries stand farther apart than their number: short blocks waste less of them.
    """
    if isinstance(pattern, Spans):
        q_tile = _power_of_two_below(768 // group_size, least=16, most=256)
        return Blocks(min(q_tile, 1 << (q_tokens - 1).bit_length()), 256, whole=True)
    bounded = max(pattern.span) < min(q_tokens, kv_tokens)
    q_tile = _power_of_two_below((384 if bounded else 768) // group_size, least=16, most=256)
    q_tile = min(q_tile, 1 << (q_tokens - 1).bit_length())
    reach = min(max(pattern.span) + q_tile, kv_tokens) if bounded else min(512, kv_tokens)
    n_blocks = -(-reach // 1152)
    return Blocks(q_tile, -(-reach // (n_blocks * GRANULE)) * GRANULE)


def _power_of_two_below(value: int, least: int, most: int) -> int:
    return max(least, min(most, 1 << max(value, 1).bit_length() - 1))


def granule_kinds(q: QueryBounds, kv_bounds: tuple, sink_g: Array, xp: ModuleType = np) -> Array:
    """`Tile` of each granule for a group of heads that is computed together: skipped only if every head skips it.

    The bounds and `sink_g` carry the heads on their first axis, or 1 there, and broadcast on the others.
    """
    kinds = classify_tiles(q, kv_bounds, sink_g, xp)
    mixed = xp.where(kinds.max(0) == Tile.SKIP, int(Tile.SKIP), int(Tile.PARTIAL))
    return xp.where(kinds.min(0) == Tile.DENSE, int(Tile.DENSE), mixed)


def walk_visits(
    span_gt: np.ndarray, sink_g: np.ndarray, q_pos_t: np.ndarray, kv_pos_s: np.ndarray, blocks: Blocks
) -> dict[int, int]:
    """How often one walk visits so many granules at once: {granules: visits} for each of `blocks.visit_sizes`.

    Spans [G, T or 1] and sinks [G] of the heads that walk together.  Host time is linear in the tiles where the keys
    lie in position order, and tiles x granules otherwise.
    """
    span_gt = span_gt if span_gt.shape[1] == 1 else _pad(span_gt, blocks.q_tile)
    q = query_bounds(pad_positions(q_pos_t, blocks.q_tile), span_gt.astype(np.int64), blocks.q_tile)
    kv_bounds = tile_bounds(pad_positions(kv_pos_s, GRANULE), GRANULE)
    occupied = kv_bounds[0] <= kv_bounds[1]
    in_order = all((np.diff(bound[occupied]) >= 0).all() for bound in kv_bounds[:2])
    count = _visits_in_order if in_order else _visits_anywhere
    return count(q, sink_g, kv_bounds, blocks.visit_sizes)


def _pad(x: np.ndarray, tile: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, -x.shape[-1] % tile)), mode="edge")


def _visits_in_order(q: QueryBounds, sink_g: np.ndarray, kv_bounds: tuple, sizes: tuple[int, ...]) -> dict[int, int]:
    """`walk_visits` for keys in position order.

    What a query tile sees is then the occupied granules of [0, sinks_end) and [span_start, causal_end).  Within a run
    of neighbouring visible granules the greedy cover places whole blocks and one remainder, so a tile takes a few
    steps, not one per block.
    """
    kv_low, kv_high, _ = kv_bounds
    n = kv_low.size
    occupied = np.flatnonzero(kv_low <= kv_high)
    place = np.append(occupied, n)  # of the j-th occupied granule
    causal_end = np.searchsorted(kv_low[occupied], q.high, side="right")
    sinks_end = np.minimum(np.searchsorted(kv_low[occupied], sink_g.max()), causal_end)
    span_start = np.searchsorted(kv_high[occupied], q.left_low.min(0), side="right")
    span_start = np.minimum(span_start, causal_end)

    # The last granule of the run of occupied neighbours that the j-th one is in, as an index into `occupied`.
    run_ends = np.append(np.flatnonzero(np.diff(occupied) != 1), occupied.size - 1)

    def next_seen(j: np.ndarray) -> np.ndarray:
        j = np.where((j >= sinks_end) & (j < span_start), span_start, j)
        return np.where(j >= causal_end, occupied.size, j)

    visits = dict.fromkeys(sizes, 0)
    at = next_seen(np.zeros_like(causal_end))
    while (walking := at < occupied.size).any():
        at_run_end = run_ends[np.searchsorted(run_ends, np.minimum(at, occupied.size - 1))] + 1
        seen_end = np.where((at < sinks_end) & (sinks_end < span_start), sinks_end, causal_end)
        length = np.where(walking, np.minimum(at_run_end, seen_end) - at, 0)
        wholes, rest = np.divmod(length, sizes[-1])
        ending = np.take(sizes, np.searchsorted(sizes, rest))  # the smallest that holds the rest
        visits[sizes[-1]] += int(wholes.sum())
        for size in sizes:
            visits[size] += int(((ending == size) & (rest > 0)).sum())
        # What covers the rest may reach into the next run.
        reached = place[np.minimum(at, occupied.size)] + wholes * sizes[-1] + np.where(rest > 0, ending, 0)
        at = np.where(walking, next_seen(np.searchsorted(occupied, reached)), at)
    return visits


def _visits_anywhere(q: QueryBounds, sink_g: np.ndarray, kv_bounds: tuple, sizes: tuple[int, ...]) -> dict[int, int]:
    """`walk_visits` for keys in any order: the cover itself, on the whole map of tiles."""
    n = kv_bounds[0].size
    rows = max(1, 2**22 // n)  # bounds the host memory of the map at long prompts
    visits = dict.fromkeys(sizes, 0)
    for first in range(0, q.low.size, rows):
        some_rows = QueryBounds(*(bound[..., first : first + rows, None] for bound in q))
        kinds = granule_kinds(some_rows, tuple(bound[None] for bound in kv_bounds), sink_g[:, None, None])
        next_visible, next_skipped = _next(kinds != Tile.SKIP), _next(kinds == Tile.SKIP)
        row, at = np.arange(len(kinds)), next_visible[:, 0]
        while (walking := at < n).any():
            run = next_skipped[row, at] - at
            size = np.take(sizes, np.minimum(np.searchsorted(sizes, run), len(sizes) - 1))
            for one in sizes:
                visits[one] += int((walking & (size == one)).sum())
            at = next_visible[row, np.minimum(at + size, n)]
    return visits


def _next(wanted: np.ndarray) -> np.ndarray:
    """Per row, the first wanted place at or after each place, [rows, n + 1]; n where there is none."""
    n = wanted.shape[1]
    places = np.pad(np.where(wanted, np.arange(n), n), ((0, 0), (0, 1)), constant_values=n)
    return np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]


def executed_pairs(
    pattern: SpanPattern,
    n_heads: int,
    n_kv_heads: int,
    q_pos_t: np.ndarray,
    kv_pos_s: np.ndarray,
    blocks: Blocks | None = None,
) -> int:
    """(query, key) pairs that the blockwise path computes, all query heads: visited granules times their area."""
    group_size = n_heads // n_kv_heads
    blocks = blocks or choose_blocks(pattern, len(q_pos_t), len(kv_pos_s), group_size)
    heads = pattern.per_head(n_heads)
    groups = [tuple(sorted(set(heads[i : i + group_size]))) for i in range(0, n_heads, group_size)]
    counts = {}
    for group in set(groups):
        span_g, sink_g = np.asarray(group, np.int64).T
        counts[group] = granules_visited(walk_visits(span_g[:, None], sink_g, q_pos_t, kv_pos_s, blocks))
    return sum(counts[group] for group in groups) * group_size * blocks.q_tile * GRANULE


def executed_pairs_of_spans(
    span_mt: np.ndarray,
    sinks: int,
    n_heads: int,
    n_kv_heads: int,
    q_pos_t: np.ndarray,
    kv_pos_s: np.ndarray,
    blocks: Blocks | None = None,
) -> int:
    """As `executed_pairs`, for packed `Spans` [M, T]: the queries of each span have tiles of their own."""
    operands = Spans(span_mt, np.array([sinks]))
    blocks = blocks or choose_blocks(operands, len(q_pos_t), len(kv_pos_s), n_heads // n_kv_heads)
    granules = 0
    for span_t in span_mt:
        for span in np.unique(span_t):
            one = np.array([[span]]), np.array([sinks])
            granules += granules_visited(walk_visits(*one, q_pos_t[span_t == span], kv_pos_s, blocks))
    return granules * n_heads // len(span_mt) * blocks.q_tile * GRANULE


def granules_visited(visits: dict[int, int]) -> int:
    """All granules of a walk's visits."""
    return sum(times * granules for granules, times in visits.items())
