"""How much of each piece of the attention matrix a variant lets be seen, and which tiles run: for pictures.

Everything comes from the mixer's own outline and pattern; no model runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attention.cost import Heads
from attention.kernels.cover import GRANULE, choose_blocks, granule_kinds
from attention.mixer import Mixer
from attention.outline import Stretch
from attention.pattern import SpanPattern, pad_positions, query_bounds, tile_bounds


@dataclass(frozen=True)
class Seen:
    """`share_rc` [R, C]: of the pairs of C key stretches with R query stretches, the share that is visible.

    Attributes:
        exact: whether the place of the keys is known, not only their number.
        kinds: `Tile` of [query tiles, key granules] of one group of heads, where a pattern decides; else None.
        q_tile: queries in a tile of `kinds`.
    """

    share_rc: np.ndarray
    exact: bool
    kinds: np.ndarray | None = None
    q_tile: int = 0


def seen(mixer: Mixer, heads: Heads, tokens: int, cells: int) -> Seen:
    """Of a one-step prefill of `tokens`, the mean over the query heads, in cells x cells stretches."""
    mixer = mixer.at_length(tokens)
    edges = np.linspace(0, tokens, min(cells, tokens) + 1).astype(np.int64)
    outline = mixer.outline(heads, tokens)
    share_rc = np.mean([_share(head, edges) for head in outline.heads], axis=0)
    return Seen(share_rc, outline.exact, *(_kinds(mixer.pattern(), heads, tokens) if mixer.has_only_a_pattern else ()))


def _share(stretches: tuple[Stretch, ...], edges: np.ndarray) -> np.ndarray:
    keys = sum(_keys_between(one.start_t, one.end_t, edges) * one.share_t[:, None] for one in stretches)
    return _by_rows(keys, edges)


def _keys_between(low_t: np.ndarray, high_t: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Keys of [low, high) in each stretch, [T, C]."""
    return np.maximum(np.minimum(high_t[:, None], edges[1:]) - np.maximum(low_t[:, None], edges[:-1]), 0)


def _by_rows(keys_tc: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Keys per query and stretch as a share of the pairs of each stretch of queries, [R, C]."""
    sizes = np.diff(edges)
    return np.add.reduceat(keys_tc, edges[:-1], axis=0) / (sizes[:, None] * sizes[None, :])


def _kinds(pattern: SpanPattern, heads: Heads, tokens: int) -> tuple[np.ndarray, int]:
    """The tiles of the blockwise kernel for the group of heads that looks farthest."""
    q_tile = choose_blocks(pattern, tokens, tokens, heads.n_heads // heads.n_kv_heads).q_tile
    span_n, sink_n = np.asarray(pattern.per_head(heads.n_heads), np.int64).T
    position = np.arange(tokens)
    q = query_bounds(pad_positions(position, q_tile), span_n[:, None], q_tile)
    kv_bounds = tile_bounds(pad_positions(position, GRANULE), GRANULE)
    q = type(q)(*(bound[..., None] for bound in q))
    kinds = granule_kinds(q, tuple(bound[None] for bound in kv_bounds), sink_n[:, None, None])
    return np.asarray(kinds, np.int8), q_tile
