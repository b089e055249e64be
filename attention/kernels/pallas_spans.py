"""The Pallas kernel under a pattern: spans as few operands as they need, and queries packed by span.

Where a router gave each query a span out of few, a tile of neighbours would visit what the longest of them sees.  So
queries of one span are put into tiles of their own first, and results go back to their places; masks read positions, so
nothing else changes.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attention.kernels.pallas_attention import attend_pallas
from attention.kernels.row_tiles import tile_rows
from attention.kernels.target import current_target, is_gpu
from attention.kernels.tiles import AttentionTiles, attention_tiles
from attention.pattern import SpanPattern, Spans, head_spans

HEAD_SIZES = 16, 32, 64, 128, 256


class OnKernel(NamedTuple):
    """The result [B, T, N, H], the log-sum-exp [B, N, T] in float32 if it was asked for, and the (row, key) pairs of
    the tiles that ran, all heads, float32: an int32 does not hold them."""

    out_btnh: jax.Array
    lse_bnt: jax.Array | None
    visited_pairs: jax.Array


def pallas_cannot(q_btnh: jax.Array, target: str) -> str | None:
    """Why the kernel cannot serve such queries on `target`, None if it can."""
    if not is_gpu(target):
        return f"pallas runs on GPUs, this is {target}"
    if q_btnh.shape[-1] not in HEAD_SIZES:
        return f"pallas takes head sizes {', '.join(map(str, HEAD_SIZES))}, got {q_btnh.shape[-1]}"
    return None


def attend_pallas_spans(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_bt: jax.Array,
    kv_pos_bks: jax.Array,
    pattern: SpanPattern | Spans,
    *,
    return_lse: bool = False,
    tiles: AttentionTiles | None = None,
    interpret: bool = False,
) -> OnKernel:
    """`attend_dense` by the kernel; `tiles` and `interpret` as `attend_pallas` has them."""
    n, k = q_btnh.shape[2], k_bskh.shape[2]
    tiles = tiles or attention_tiles(current_target(), q_btnh.dtype, q_btnh.shape[-1])
    span_bmt, sink_m = _operands(pattern, n, k)
    q_pos_bmt, place_bmt = q_pos_bt[:, None], None
    if isinstance(pattern, Spans) and pattern.span_e is not None and span_bmt.shape[2] > 1:
        packed = n // k if span_bmt.shape[1] <= k else 1  # rows of a tile for each query
        row_bmp, place_bmt = _packed(span_bmt, pattern.span_e, max(1, tiles.rows // packed))
        q_btnh = _reorder(q_btnh, row_bmp)
        rows = jnp.broadcast_to(row_bmp, (max(q_pos_bt.shape[0], row_bmp.shape[0]), *row_bmp.shape[1:]))
        q_pos_bmt = jnp.where(rows < 0, -1, jnp.take_along_axis(q_pos_bmt, rows, axis=2))
        span_bmt = jnp.take_along_axis(span_bmt, row_bmp, axis=2)
    out_btnh, lse_bnt, visited = attend_pallas(
        q_btnh, k_bskh, v_bskh, q_pos_bmt, kv_pos_bks, span_bmt, sink_m,
        tiles=tiles, interpret=interpret, return_lse=return_lse,
    )  # fmt: skip
    if place_bmt is not None:
        out_btnh = _reorder(out_btnh, place_bmt)
        if return_lse:
            lse_bnt = _reorder(lse_bnt.swapaxes(1, 2)[..., None], place_bmt)[..., 0].swapaxes(1, 2)
    return OnKernel(out_btnh, lse_bnt, visited.astype(jnp.float32) * (tiles.rows * tiles.keys))


def _operands(pattern: SpanPattern | Spans, n: int, k: int) -> tuple[jax.Array, jax.Array]:
    """Spans [B or 1, 1 or K or N, T or 1] and sinks [1 or K or N]: heads that see alike share one entry, for the
    kernel shares tiles between them."""
    if isinstance(pattern, Spans):
        return jnp.asarray(pattern.span_bmt, jnp.int32), jnp.asarray(pattern.sink_m, jnp.int32)

    def fewest(values_n: np.ndarray) -> np.ndarray:
        for m in (1, k):
            values_mg = values_n.reshape(m, -1)
            if (values_mg == values_mg[:, :1]).all():
                return values_mg[:, 0]
        return values_n

    span_bnt, sink_n = head_spans(pattern, n)
    return jnp.asarray(fewest(span_bnt[0, :, 0]))[None, :, None], jnp.asarray(fewest(sink_n))


def _packed(span_bmt: jax.Array, span_e: jax.Array, q_tile: int) -> tuple[jax.Array, jax.Array]:
    """Which query stands at each place (-1: none), [B or 1, M, P], and where each query went, [B or 1, M, T]."""
    route_wt = (span_bmt[..., None] > jnp.asarray(span_e)).sum(-1).reshape(-1, span_bmt.shape[2])
    tables = jax.vmap(lambda route_t: tile_rows(route_t, len(span_e), q_tile))(route_wt)
    return tables.row_it.reshape(*span_bmt.shape[:2], -1), tables.place_r.reshape(span_bmt.shape)


def _reorder(x_btnh: jax.Array, order_bmp: jax.Array) -> jax.Array:
    """Axis T in another order for each row of the batch and each of M groups of heads."""
    b, _, n, _ = x_btnh.shape
    if order_bmp.shape[:2] == (1, 1):
        return x_btnh[:, order_bmp[0, 0]]
    order_bpm = jnp.broadcast_to(order_bmp, (b, *order_bmp.shape[1:])).swapaxes(1, 2)
    order_bpn = order_bpm.repeat(n // order_bpm.shape[2], axis=2)
    return jnp.take_along_axis(x_btnh, order_bpn[..., None], axis=1)
