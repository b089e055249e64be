"""A pattern's spans as few operands as a kernel needs, and queries packed by span.

Where a router gave each query a span out of few, a tile of neighbours would visit what the longest of them sees.  So
queries of one span are put into tiles of their own first, and results go back to their places; masks read positions, so
nothing else changes.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attention.attended import Attended
from attention.exact_count import ExactCount
from attention.kernels.row_tiles import tile_rows
from attention.pattern import SpanPattern, Spans, head_spans


class PackedQueries(NamedTuple):
    """Queries as a kernel takes them, at P places; M is 1, K or N.  `place_bmt` says where each went, None if none."""

    q_bpnh: jax.Array
    pos_bmp: jax.Array
    span_bmp: jax.Array
    sink_m: jax.Array
    place_bmt: jax.Array | None


def pack(
    q_btnh: jax.Array, q_pos_bt: jax.Array, pattern: SpanPattern | Spans, k: int, rows: int, groups_share: bool
) -> PackedQueries:
    """Queries of one span in tiles of `rows`; in a tile are all heads of a group where those share it."""
    n = q_btnh.shape[2]
    span_bmt, sink_m = _operands(pattern, n, k)
    q_pos_bmt = q_pos_bt[:, None]
    if not (isinstance(pattern, Spans) and pattern.span_e is not None and span_bmt.shape[2] > 1):
        return PackedQueries(q_btnh, q_pos_bmt, span_bmt, sink_m, None)
    rows_of_a_query = n // k if groups_share and span_bmt.shape[1] <= k else 1
    row_bmp, place_bmt = _packed(span_bmt, pattern.span_e, max(1, rows // rows_of_a_query))
    every_row_bmp = jnp.broadcast_to(row_bmp, (max(q_pos_bt.shape[0], row_bmp.shape[0]), *row_bmp.shape[1:]))
    q_pos_bmt = jnp.broadcast_to(q_pos_bmt, (every_row_bmp.shape[0], *q_pos_bmt.shape[1:]))
    q_pos_bmp = jnp.where(every_row_bmp < 0, -1, jnp.take_along_axis(q_pos_bmt, every_row_bmp, axis=2))
    span_bmp = jnp.take_along_axis(span_bmt, row_bmp, axis=2)
    return PackedQueries(_reorder(q_btnh, row_bmp), q_pos_bmp, span_bmp, sink_m, place_bmt)


def unpack(
    out_btnh: jax.Array, lse_bnt: jax.Array | None, visited: ExactCount, queries: PackedQueries, pairs_of_a_tile: int
) -> Attended:
    """Each query's result at its own place."""
    if queries.place_bmt is not None:
        out_btnh = _reorder(out_btnh, queries.place_bmt)
        if lse_bnt is not None:
            lse_bnt = _reorder(lse_bnt.swapaxes(1, 2)[..., None], queries.place_bmt)[..., 0].swapaxes(1, 2)
    return Attended(out_btnh, lse_bnt, visited * pairs_of_a_tile)


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
