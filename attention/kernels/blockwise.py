"""Attention in plain XLA that visits only what is visible, on any device, in memory linear in the prompt.

One tile of queries at a time walks over the keys.  The keys are cut into granules; `classify_tiles` says from
positions alone which granules the tile can see.  Visible granules are covered greedily by blocks of several
granules, so that a block may start at any granule: a window of W costs about W + q_tile keys a query instead of the
next multiple of a large block, while each matrix product stays large.  What is left of a run, or stands alone like
sinks, takes half a block or a granule.  An online softmax (Milakov & Gimelshein, 1805.02867) merges the blocks; a
block that is visible throughout skips the mask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attention.attended import Attended
from attention.exact_count import ExactCount
from attention.kernels.cover import GRANULE, Blocks, choose_blocks, granule_kinds, visit_name, walk_name
from attention.kernels.row_tiles import tile_rows
from attention.pattern import (
    OnEither,
    SpanPattern,
    Spans,
    Tile,
    head_spans,
    pad_positions,
    query_bounds,
    tile_bounds,
    visible,
)


def attend_blockwise(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"],
    v_bskh: Float[Array, "b s k h"],
    q_pos_bt: Int[OnEither, "#b t"],
    kv_pos_bks: Int[OnEither, "#b #k s"],
    pattern: SpanPattern | Spans,
    blocks: Blocks | None = None,
) -> Attended:
    """`attend_dense`, skipping what is invisible.

    Streams (row of the batch, head) with equal positions and spans walk over the same blocks, so they share one walk
    as a batch of products; the others take turns.  Spans of few values have their queries packed first.
    """
    (b, t, n, h), (s, k) = q_btnh.shape, k_bskh.shape[1:3]
    blocks = blocks or choose_blocks(pattern, t, s, n // k)
    span_bnt, sink_n = (jnp.asarray(x, jnp.int32) for x in head_spans(pattern, n))
    walks_b = b if max(q_pos_bt.shape[0], kv_pos_bks.shape[0], span_bnt.shape[0]) > 1 else 1
    walks_m = walks_over_heads(pattern, n, k, kv_pos_bks.shape[1] > 1)

    walks, rows, kv_heads = walks_b * walks_m, b // walks_b, k if walks_m == 1 else 1  # rows and heads of a walk

    def per_walk(x: OnEither) -> jax.Array:  # what a walk's streams have in common, [B or 1, M or fewer, ...]
        x = x.repeat(walks_m // x.shape[1], axis=1)
        return jnp.broadcast_to(x, (walks_b, *x.shape[1:])).reshape(walks, *x.shape[2:])

    # Heads that walk together see alike, but for the static ones of a group.
    span_wgt = per_walk(span_bnt.reshape(span_bnt.shape[0], walks_m, n // walks_m, -1))
    sink_wg = per_walk(sink_n.reshape(1, walks_m, -1))
    if isinstance(pattern, Spans) or pattern.is_uniform:
        span_wgt, sink_wg = span_wgt[:, :1], sink_wg[:, :1]
    q_pos_wt, kv_pos_ws = per_walk(q_pos_bt[:, None]), per_walk(kv_pos_bks)
    q_wbtkgh = jnp.moveaxis(q_btnh.reshape(walks_b, -1, t, walks_m, kv_heads, n // (walks_m * kv_heads), h), 3, 1)
    q_wbtkgh = q_wbtkgh.reshape(walks, *q_wbtkgh.shape[2:])
    place_wt = None
    if isinstance(pattern, Spans) and pattern.span_e is not None and span_wgt.shape[2] > 1:
        row_wp, place_wt = _packed(span_wgt[:, 0], pattern.span_e, blocks.q_tile)
        q_wbtkgh = _reorder(q_wbtkgh, row_wp)
        q_pos_wt = jnp.where(row_wp < 0, -1, jnp.take_along_axis(q_pos_wt, row_wp, axis=1))
        span_wgt = jnp.take_along_axis(span_wgt, row_wp[:, None], axis=2)

    # A block may start at the last granule: fill up with empty slots, which nobody sees.
    kv_pos_ws = pad_positions(kv_pos_ws, GRANULE, jnp)
    kv_pos_ws = jnp.pad(kv_pos_ws, ((0, 0), (0, blocks.kv_block - GRANULE)), constant_values=-1)
    k_bksh, v_bksh = (
        jnp.pad(x.swapaxes(1, 2), ((0, 0), (0, 0), (0, kv_pos_ws.shape[1] - s), (0, 0))) for x in (k_bskh, v_bskh)
    )
    walk = _named(walk_name(blocks), partial(_walk, blocks=blocks))

    def one_walk(operand: Any) -> tuple[jax.Array, ...]:
        number, q_btkgh, *rest = operand
        at = (number // walks_m * rows, number % walks_m * k // walks_m, 0, 0)
        keys, values = (
            lax.dynamic_slice(x, at, (rows, kv_heads, *x.shape[2:])).reshape(rows * kv_heads, *x.shape[2:])
            for x in (k_bksh, v_bksh)
        )
        return walk(q_btkgh, keys, values, *rest)

    operands = (jnp.arange(walks), q_wbtkgh, q_pos_wt, kv_pos_ws, span_wgt, sink_wg)
    if walks == 1:
        out, lse, visited = (x[None] for x in one_walk((0, *(x[0] for x in operands[1:]))))
    else:
        out, lse, visited = lax.map(one_walk, operands)
    if place_wt is not None:
        out, lse = (_reorder(x, place_wt) for x in (out, lse))

    def by_row(x: jax.Array) -> jax.Array:  # [walks, rows, T, K', G', ...] -> [B, T, N, ...]
        x = x.reshape(walks_b, walks_m, *x.shape[1:])
        return jnp.moveaxis(x, 1, 3).reshape(b, t, n, *x.shape[6:])

    pairs = ExactCount.of(visited) * (blocks.q_tile * GRANULE * rows * (n // walks_m))
    return Attended(by_row(out), by_row(lse).swapaxes(1, 2), pairs)


def _packed(span_wt: jax.Array, span_e: OnEither, q_tile: int) -> tuple[jax.Array, jax.Array]:
    """Which query stands at each place (-1: none), [walks, P], and where each query went, [walks, T].

    Queries of a span stand in their old order, in tiles of their own: masks read positions, so nothing else changes,
    and where a query stands in which tile depends on those before it alone.
    """
    route_wt = (span_wt[..., None] > span_e).sum(-1)
    tiles = jax.vmap(lambda route_t: tile_rows(route_t, span_e.size, q_tile))(route_wt)
    return tiles.row_it.reshape(len(span_wt), -1), tiles.place_r


def _reorder(x_wbt: jax.Array, order_wt: jax.Array) -> jax.Array:
    """Axis T of [walks, rows, T, ...] in another order for each walk."""
    return jnp.take_along_axis(x_wbt, order_wt.reshape(len(order_wt), 1, -1, *[1] * (x_wbt.ndim - 3)), axis=2)


def walks_over_heads(pattern: SpanPattern | Spans, n_heads: int, n_kv_heads: int, own_positions: bool) -> int:
    """Into how many walks the heads of a row fall: 1, K or N."""
    if isinstance(pattern, Spans):
        return max(pattern.span_bmt.shape[1], pattern.sink_m.size, n_kv_heads if own_positions else 1)
    return n_kv_heads if own_positions or not pattern.is_uniform else 1


def _walk(
    q_btkgh: jax.Array,
    k_zsh: jax.Array,
    v_zsh: jax.Array,
    q_pos_t: jax.Array,
    kv_pos: jax.Array,
    span_gt: jax.Array,
    sink_g: jax.Array,
    *,
    blocks: Blocks,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """B x K streams that share positions and spans: ([B, T, K, G, H], log-sum-exp [B, T, K, G], granules visited).

    Keys and values, read by many tiles, have their heads in front of their slots; queries and results are turned tile
    by tile, while they are in the cache.  Spans [G or 1, T or 1], sinks [G or 1].
    """
    b, t, k, g, h = q_btkgh.shape
    q_tile = blocks.q_tile
    q_pos = pad_positions(q_pos_t, q_tile, jnp).reshape(-1, q_tile)
    q_tiles = jnp.pad(q_btkgh, [(0, 0), (0, q_pos.size - t), (0, 0), (0, 0), (0, 0)]).reshape(b, -1, q_tile, k, g, h)
    if span_gt.shape[1] == 1:
        span_igt = jnp.broadcast_to(span_gt, (len(q_pos), *span_gt.shape))
    else:
        padded = jnp.pad(span_gt, ((0, 0), (0, q_pos.size - t)), mode="edge")
        span_igt = padded.reshape(len(span_gt), -1, q_tile).swapaxes(0, 1)
    kv_bounds = tile_bounds(kv_pos, GRANULE, jnp)

    def one_tile(operand: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        q_btkgh, q_pos_t, span_gt = operand
        kinds = granule_kinds(query_bounds(q_pos_t, span_gt, q_tile, jnp), kv_bounds, sink_g[:, None], jnp)
        next_visible, next_skipped, masked_before = _cover(kinds)
        q = q_btkgh.transpose(0, 2, 3, 1, 4).reshape(b * k, g * q_tile, h)

        def visit(state: tuple[jax.Array, ...], n_granules: int) -> tuple[jax.Array, ...]:
            granule, visited, top, total, acc = state
            start, end, size = granule * GRANULE, granule + n_granules, n_granules * GRANULE
            keys, values = (lax.dynamic_slice_in_dim(x, start, size, axis=1) for x in (k_zsh, v_zsh))
            pos_s = lax.dynamic_slice_in_dim(kv_pos, start, size)
            scores = _products(q, keys, (2, 2))

            def masked(scores: jax.Array) -> jax.Array:
                mask_gts = visible(q_pos_t[:, None], pos_s[None], span_gt[:, :, None], sink_g[:, None, None])
                mask_gts = jnp.broadcast_to(mask_gts, (g, q_tile, size))
                return jnp.where(mask_gts.reshape(g * q_tile, size), scores, -jnp.inf)

            is_dense = masked_before[end] == masked_before[granule]
            scores = lax.cond(is_dense, lambda scores: scores, masked, scores)
            return next_visible[end], visited + n_granules, *_accumulate(top, total, acc, scores, values, h**-0.5)

        visits = [_named(visit_name(size), partial(visit, n_granules=size)) for size in blocks.visit_sizes]

        def next_block(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            run = next_skipped[state[0]] - state[0]
            return lax.switch(sum(run > size for size in blocks.visit_sizes[:-1]), visits, state)

        start: tuple[jax.Array, ...] = (
            next_visible[0],
            jnp.int32(0),
            jnp.full((b * k, g * q_tile), -jnp.inf, jnp.float32),
            jnp.zeros((b * k, g * q_tile), jnp.float32),
            jnp.zeros((b * k, g * q_tile, h), jnp.float32),
        )
        _, visited, top, total, acc = lax.while_loop(lambda state: state[0] < kinds.size, next_block, start)
        out = (acc / jnp.where(total == 0, 1, total)[..., None]).reshape(b, k, g, q_tile, h)
        out = jnp.where(q_pos_t[:, None] >= 0, out, 0).astype(q_btkgh.dtype)
        lse = (h**-0.5 * top + jnp.log(total)).reshape(b, k, g, q_tile)
        return out.transpose(0, 3, 1, 2, 4), lse.transpose(0, 3, 1, 2), visited

    out, lse, visited = lax.map(one_tile, (jnp.moveaxis(q_tiles, 1, 0), q_pos, span_igt))
    out, lse = (jnp.moveaxis(x, 0, 1).reshape(b, -1, *x.shape[3:])[:, :t] for x in (out, lse))
    return out, lse, visited.sum()


def _named(name: str, function: Callable) -> Callable:
    """`function` as a call of that name in the jaxpr and in the compiled program, for whoever counts its cost."""

    def call(*operands: Any) -> Any:
        return function(*operands)

    call.__name__ = call.__qualname__ = name
    return jax.jit(call)


def _cover(kinds: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What the greedy cover asks at granule i: the next visible and the next skipped one from i on, and how many
    before i need a mask."""

    def next_where(wanted: jax.Array) -> jax.Array:
        places = jnp.where(wanted, jnp.arange(kinds.size, dtype=jnp.int32), kinds.size)
        return jnp.pad(lax.cummin(places, reverse=True), (0, 1), constant_values=kinds.size)

    masked_before = jnp.cumsum(kinds != Tile.DENSE, dtype=jnp.int32)
    return next_where(kinds != Tile.SKIP), next_where(kinds == Tile.SKIP), jnp.pad(masked_before, (1, 0))


def _products(x: jax.Array, y: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """A product for each stream, contracting an axis of x with one of y; of one stream a plain product, which compilers
    leave as it is: one with a batch of 1 is rewritten and loses the name by which it is counted."""
    of_x, of_y = axes
    if len(x) == 1:
        plain = ((of_x - 1,), (of_y - 1,)), ((), ())
        return lax.dot_general(x[0], y[0], plain, preferred_element_type=jnp.float32)[None]
    return lax.dot_general(x, y, (((of_x,), (of_y,)), ((0,), (0,))), preferred_element_type=jnp.float32)


def _accumulate(
    top: jax.Array, total: jax.Array, acc: jax.Array, scores: jax.Array, v: jax.Array, scale: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One step of the online softmax of scale·scores: running maximum of the scores, running sum, weighted values."""
    new_top = jnp.maximum(top, scores.max(-1))
    finite_top = jnp.where(new_top == -jnp.inf, 0, new_top)  # a row that has seen nothing yet stays at zero weight
    weights = jnp.exp(scale * (scores - finite_top[..., None]))
    rescale = jnp.exp(scale * (top - finite_top))
    values = _products(weights.astype(v.dtype), v, (2, 1))
    return new_top, total * rescale + weights.sum(-1), acc * rescale[..., None] + values
