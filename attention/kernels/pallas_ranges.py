"""Which tiles of keys a program of the attention kernel visits, as a table of bounds that XLA computes.

The visible keys of a row are those below its sink and those right of `left = position - span`, up to its position.  For
keys in order, what a tile of rows sees is therefore two ranges of key tiles: one of sinks, and one that begins at the
least left and ends at the greatest position.  In the second one, tiles at either end need a mask and those between do
not.  Keys in any other order get the same bounds, a mask throughout, and a test before each tile.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from attention.pattern import UNBOUNDED

Array = jax.Array


class Ranges(NamedTuple):
    """Bounds of a walk over key tiles, each [..., row tiles].

    Masked tiles are `sink_start..sink_end`, `near_start..dense_start` and `dense_end..near_end`.
    `tested` is 1 where invisible tiles lie among them; then the first range is empty.
    """

    sink_start: Array
    sink_end: Array
    near_start: Array
    dense_start: Array
    dense_end: Array
    near_end: Array
    tested: Array


def find_ranges(row_pos: Array, row_left: Array, row_sink: Array, kv_pos: Array, row_tile: int, kv_tile: int) -> Ranges:
    """Ranges of each tile of rows; operands [..., rows] and [..., keys] broadcast on their leading axes.

    `row_pos` is -1 for padding and `kv_pos` for an empty slot; rows and keys are multiples of their tiles.
    """
    q_low, q_high = (x[..., :, None] for x in _bounds(row_pos, row_pos >= 0, row_tile))
    left_low, left_high = (x[..., :, None] for x in _bounds(row_left, row_pos >= 0, row_tile))
    sink_low, sink_high = (x[..., :, None] for x in _bounds(row_sink, row_pos >= 0, row_tile))
    kv_low, kv_high = (x[..., None, :] for x in _bounds(kv_pos, kv_pos >= 0, kv_tile))
    no_empties = (kv_pos >= 0).reshape(*kv_pos.shape[:-1], 1, -1, kv_tile).all(-1)

    causal = (kv_low <= kv_high) & (kv_low <= q_high)
    near = causal & (kv_high > left_low)
    sinks = causal & (kv_low < sink_high) & ~near
    beyond_sinks = jnp.maximum(kv_low, sink_low)  # the farthest key that a span must reach, where there is one
    all_spanned = (kv_high < sink_low) | (beyond_sinks > left_high)
    dense = near & no_empties & (q_low <= q_high) & (kv_high <= q_low) & all_spanned

    (sink_start, sink_end, sinks_solid), (near_start, near_end, near_solid) = _hull(sinks), _hull(near)
    tested = ~(sinks_solid & near_solid)  # then the ranges may overlap, and one holds both
    any_start, any_end, _ = _hull(sinks | near)
    near_start, near_end = jnp.where(tested, any_start, near_start), jnp.where(tested, any_end, near_end)
    dense_start, dense_end, dense_solid = _hull(dense)
    has_dense = dense_solid & (dense_start < dense_end)
    return Ranges(
        jnp.where(tested, 0, sink_start),
        jnp.where(tested, 0, sink_end),
        near_start,
        jnp.where(has_dense, dense_start, near_end),
        jnp.where(has_dense, dense_end, near_end),
        near_end,
        tested.astype(jnp.int32),
    )


def masked_tile(bounds: Ranges, i: Array) -> Array:
    """The i-th tile of the three masked ranges in a row."""
    n_sinks, n_left = bounds.sink_end - bounds.sink_start, bounds.dense_start - bounds.near_start
    near = jnp.where(i < n_sinks + n_left, bounds.near_start + i - n_sinks, bounds.dense_end + i - n_sinks - n_left)
    return jnp.where(i < n_sinks, bounds.sink_start + i, near)


def _bounds(values: Array, counts: Array, tile: int) -> tuple[Array, Array]:
    """Least and greatest value of each tile among those that count, [..., tiles]; none gives least > greatest."""
    values, counts = jnp.broadcast_arrays(values, counts)
    tiles, counts = (x.reshape(*x.shape[:-1], -1, tile) for x in (values, counts))
    least = jnp.where(counts, tiles, UNBOUNDED).min(-1)
    return least, jnp.where(counts, tiles, -UNBOUNDED).max(-1)


def _hull(kind: Array) -> tuple[Array, Array, Array]:
    """First place that is so, one past the last, and whether all between are; (0, 0, True) for none."""
    places = jnp.arange(kind.shape[-1], dtype=jnp.int32)
    end = jnp.where(kind, places + 1, 0).max(-1)
    start = jnp.minimum(jnp.where(kind, places, kind.shape[-1]).min(-1), end)
    return start, end, kind.sum(-1, dtype=jnp.int32) == end - start
