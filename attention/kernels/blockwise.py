"""Attention in plain XLA that visits only what is visible, on any device, in memory linear in the prompt.

One tile of queries at a time walks over the keys.  The keys are cut into granules; `classify_tiles` says from
positions alone which granules the tile can see.  Visible granules are covered greedily by blocks of several
granules, so that a block may start at any granule: a window of W costs about W + q_tile keys a query instead of the
next multiple of a large block, while each matrix product stays large.  What is left of a run, or stands alone like
sinks, takes half a block or a granule.  `attention.kernels.walk` walks, `attention.kernels.blockwise_backward` walks
back.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attention.attended import Attended
from attention.exact_count import ExactCount
from attention.kernels.blockwise_backward import differentiable_walk
from attention.kernels.cover import GRANULE, Blocks, choose_blocks
from attention.kernels.row_tiles import tile_rows
from attention.kernels.score import Score
from attention.pattern import OnEither, SpanPattern, Spans, head_spans, pad_positions


def attend_blockwise(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"],
    v_bskh: Float[Array, "b s k h"],
    q_pos_bt: Int[OnEither, "#b t"],
    kv_pos_bks: Int[OnEither, "#b #k s"],
    pattern: SpanPattern | Spans,
    blocks: Blocks | None = None,
    score: Score | None = None,
) -> Attended:
    """`attend_dense`, skipping what is invisible.

    Streams (row of the batch, head) with equal positions and spans walk over the same blocks, so they share one walk
    as a batch of products; the others take turns.  Spans of few values have their queries packed first.
    Differentiable in q, k and v in reverse mode, in memory linear in the prompt too.  `score` changes the scores:
    `attention.kernels.score.Score`.
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
    walk = differentiable_walk(blocks, score)

    def one_walk(operand: Any) -> tuple[jax.Array, ...]:
        number, q_btkgh, *rest = operand
        at = (number // walks_m * rows, number % walks_m * k // walks_m, 0, 0)
        keys, values = (
            lax.dynamic_slice(x, at, (rows, kv_heads, *x.shape[2:])).reshape(rows * kv_heads, *x.shape[2:])
            for x in (k_bksh, v_bksh)
        )
        return walk(q_btkgh, keys, values, *rest, jnp.int32(number % walks_m * (n // walks_m)))

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
