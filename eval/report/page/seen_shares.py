"""How much of each piece of the attention matrix a variant lets be seen, and which tiles run: for pictures.

Everything comes from the pattern or the variant's own counts; no model runs.  Where the choice of keys depends on the
tokens, their number is exact and their place is not known: it is spread evenly over where they may lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attention.block_routed import BlockRouted
from attention.cost import Heads
from attention.evict import Evict
from attention.kernels.cover import GRANULE, choose_blocks, granule_kinds
from attention.pattern import UNBOUNDED, SpanPattern, pad_positions, query_bounds, tile_bounds
from attention.token_routed import Routed
from attention.variant import Variant


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


def seen(variant: Variant, heads: Heads, tokens: int, cells: int) -> Seen:
    """Of a one-step prefill of `tokens`, the mean over the query heads, in cells x cells stretches."""
    variant = variant.at_length(tokens)
    edges = np.linspace(0, tokens, min(cells, tokens) + 1).astype(np.int64)
    if variant.has_only_a_pattern:
        pattern = variant.pattern()
        per_head = [_spans_share(np.full(tokens, span), sink, edges) for span, sink in pattern.per_head(heads.n_heads)]
        kinds, q_tile = _kinds(pattern, heads, tokens)
        return Seen(np.mean(per_head, axis=0), True, kinds, q_tile)
    if isinstance(variant, Routed):
        router = variant.router_of(heads)
        span_mt = np.array(variant.spans)[router.at_positions(np.arange(tokens), np.asarray(variant.depth))]
        return Seen(
            np.mean([_spans_share(span_t, variant.sinks, edges) for span_t in span_mt], axis=0), not variant.assumption
        )
    if isinstance(variant, Evict):
        return Seen(*_evicted_share(variant, tokens, edges))
    if isinstance(variant, BlockRouted):
        return Seen(_routed_blocks_share(variant, tokens, edges), False)
    return Seen(*_even_share(variant, heads, tokens, edges))


def _keys_between(low_t: np.ndarray, high_t: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Keys of [low, high) in each stretch, [T, C]."""
    return np.maximum(np.minimum(high_t[:, None], edges[1:]) - np.maximum(low_t[:, None], edges[:-1]), 0)


def _spans_share(span_t: np.ndarray, sink: int, edges: np.ndarray) -> np.ndarray:
    end_t = np.arange(len(span_t)) + 1
    start_t = np.maximum(end_t - span_t, 0)
    sinks = _keys_between(np.zeros_like(end_t), np.minimum(sink, start_t), edges)
    return _by_rows(sinks + _keys_between(start_t, end_t, edges), edges)


def _evicted_share(variant: Evict, tokens: int, edges: np.ndarray) -> tuple[np.ndarray, bool]:
    """A query's own chunk, what always stays, and the rest of the budget: newest first, or anywhere before."""
    end_t = np.arange(tokens) + 1
    chunk_t = (end_t - 1) // variant.chunk * variant.chunk
    budget, rule = variant.layer_budget, variant.rule
    newest = variant.policy == "streaming"
    recent = budget - rule.sinks if newest else rule.recent
    whole_t = chunk_t <= budget  # nothing went yet
    start_t = np.where(whole_t, 0, chunk_t - recent)
    sink_t = np.where(whole_t, 0, np.minimum(rule.sinks, start_t))
    keys = _keys_between(start_t, end_t, edges) + _keys_between(np.zeros_like(end_t), sink_t, edges)
    if not newest:
        left_t = np.where(whole_t, 0, budget - recent - sink_t)
        room_t = np.maximum(start_t - sink_t, 1)
        keys = keys + _keys_between(sink_t, start_t, edges) * (left_t / room_t)[:, None]
    return _by_rows(keys, edges), newest


def _routed_blocks_share(variant: BlockRouted, tokens: int, edges: np.ndarray) -> np.ndarray:
    """The query's own block, and topk - 1 of the blocks before it."""
    end_t = np.arange(tokens) + 1
    block_t = (end_t - 1) // variant.block
    start_t = block_t * variant.block
    chosen_t = np.minimum(1.0, (variant.topk - 1) / np.maximum(block_t, 1))
    earlier = _keys_between(np.zeros_like(end_t), start_t, edges) * chosen_t[:, None]
    return _by_rows(earlier + _keys_between(start_t, end_t, edges), edges)


def _even_share(variant: Variant, heads: Heads, tokens: int, edges: np.ndarray) -> tuple[np.ndarray, bool]:
    """Of a variant that only its counts are known of: as many pairs as they say, evenly under the diagonal."""
    causal = _spans_share(np.full(tokens, UNBOUNDED), 0, edges)
    pairs, full = variant.useful(heads, tokens).pairs, heads.n_heads * tokens * (tokens + 1) // 2
    return causal * (pairs / full), pairs == full


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
