"""Which blocks of keys a tile of queries visits: the sizes, and the count that needs no run.

`attention.kernels.blockwise` executes this cover; `granules_visited` counts it on the host, for `executed` FLOPs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from attention.pattern import Array, SpanPattern, Tile, classify_tiles, pad_positions, tile_bounds

GRANULE = 64
"""Keys in a granule: where a block may start."""


@dataclass(frozen=True)
class Blocks:
    """Queries in a tile and keys in a block; `kv_block` is a multiple of `GRANULE`."""

    q_tile: int
    kv_block: int


def choose_blocks(pattern: SpanPattern, q_tokens: int, kv_tokens: int, group_size: int) -> Blocks:
    """Tile sizes by what the pattern leaves to see.

    A product wants some 500 rows (queries x heads of a group) and columns; measured on CPUs, where a larger block
    falls out of the cache.  A bounded span gets smaller query tiles, since q_tile / span is wasted, and blocks that
    divide span + q_tile evenly.
    """
    bounded = max(pattern.span) < kv_tokens
    q_tile = _power_of_two_below((384 if bounded else 768) // group_size, least=16, most=256)
    q_tile = min(q_tile, 1 << (q_tokens - 1).bit_length())
    reach = min(max(pattern.span) + q_tile, kv_tokens) if bounded else kv_tokens
    n_blocks = -(-reach // (640 if bounded else 512))
    kv_block = -(-reach // (n_blocks * GRANULE)) * GRANULE if bounded else min(512, -(-reach // GRANULE) * GRANULE)
    return Blocks(q_tile, kv_block)


def _power_of_two_below(value: int, least: int, most: int) -> int:
    return max(least, min(most, 1 << max(value, 1).bit_length() - 1))


def granule_kinds(q_bounds: tuple, kv_bounds: tuple, span_g: Array, sink_g: Array, xp: ModuleType = np) -> Array:
    """`Tile` of each granule for a group of heads that is computed together: skipped only if every head skips it.

    `span_g` and `sink_g` carry the heads on their first axis and broadcast against the bounds on the others.
    """
    kinds = classify_tiles(q_bounds, kv_bounds, span_g, sink_g, xp)
    mixed = xp.where(kinds.max(0) == Tile.SKIP, int(Tile.SKIP), int(Tile.PARTIAL))
    return xp.where(kinds.min(0) == Tile.DENSE, int(Tile.DENSE), mixed)


def granules_visited(
    heads: Sequence[tuple[int, int]], q_pos_t: np.ndarray, kv_pos_s: np.ndarray, blocks: Blocks
) -> int:
    """Granules that one walk over the keys computes for heads of the given (span, sink), without running it."""
    spans, sinks = np.asarray(heads, np.int64).T[:, :, None, None]
    q_bounds = tile_bounds(pad_positions(q_pos_t, blocks.q_tile), blocks.q_tile)
    kv_bounds = tile_bounds(pad_positions(kv_pos_s, GRANULE), GRANULE)
    n = kv_bounds[0].size
    rows = max(1, 2**22 // n)  # bounds the host memory of the map at long prompts
    visited = 0
    for first in range(0, q_bounds[0].size, rows):
        some_rows = tuple(bound[first : first + rows, None] for bound in q_bounds)
        kinds = granule_kinds(some_rows, tuple(bound[None] for bound in kv_bounds), spans, sinks)
        nowhere = n + 1
        candidates = np.pad(
            np.where(kinds == Tile.SKIP, nowhere, np.arange(n)), ((0, 0), (0, 1)), constant_values=nowhere
        )
        next_visible = np.minimum.accumulate(candidates[:, ::-1], axis=1)[:, ::-1]
        row, at = np.arange(len(kinds)), next_visible[:, 0]
        while (walking := at < n).any():
            alone = next_visible[row, np.minimum(at + 1, n)] > at + 1
            step = np.where(alone, 1, blocks.kv_block // GRANULE)
            visited += int(step[walking].sum())
            at = next_visible[row, np.minimum(at + step, n)]
    return visited


def executed_pairs(
    pattern: SpanPattern,
    n_heads: int,
    n_kv_heads: int,
    q_pos_t: np.ndarray,
    kv_pos_s: np.ndarray,
    blocks: Blocks | None = None,
) -> int:
    """(query, key) pairs that the blockwise path computes, summed over query heads: visited granules times their area."""
    group_size = n_heads // n_kv_heads
    blocks = blocks or choose_blocks(pattern, len(q_pos_t), len(kv_pos_s), group_size)
    heads = pattern.per_head(n_heads)
    groups = [heads[i : i + group_size] for i in range(0, n_heads, group_size)]
    counts = {group: granules_visited(sorted(set(group)), q_pos_t, kv_pos_s, blocks) for group in set(groups)}
    return sum(counts[group] for group in groups) * group_size * blocks.q_tile * GRANULE
