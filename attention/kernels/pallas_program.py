"""A program of the portable kernel: one tile of rows, which walks over tiles of keys with an online softmax."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.pallas_ranges import Ranges, masked_tile
from attention.kernels.ref import Ref
from attention.kernels.tiles import AttentionTiles
from attention.pattern import UNBOUNDED

EMPTY = UNBOUNDED
"""Position of an empty slot inside the kernel: beyond every query."""

LOG2_E = float(np.log2(np.e))

State = tuple[jax.Array, jax.Array, jax.Array]
"""Of the online softmax of a tile of rows: the greatest score, the sum of weights, the weighted values."""


class Static(NamedTuple):
    """What a kernel is compiled for."""

    tokens: int
    slots: int
    group: int  # query heads of a key-value head
    packed: int  # query heads whose rows share a tile: all of a group, or one
    tiles: AttentionTiles


def attend_tile(
    q_ref: Ref, k_ref: Ref, v_ref: Ref, pos_ref: Ref, left_ref: Ref, sink_ref: Ref, kv_pos_ref: Ref, ranges_ref: Ref,
    out_ref: Ref, visited_ref: Ref, *lse_ref: Ref,
    static: Static, row_tiles: int, exp2: Callable[[jax.Array], jax.Array],
) -> None:  # fmt: skip
    """The kernel: one tile of rows walks over the tiles of keys that its bounds name."""
    rows, keys = static.tiles.rows, static.tiles.keys
    head_dim = q_ref.shape[-1]
    row = (row_tiles - 1 - pl.program_id(0)) * rows + jnp.arange(rows)
    token = row // static.packed
    head = pl.program_id(1) * static.packed + row % static.packed
    exists = token < static.tokens
    # Every index an array of the whole tile: interpret mode takes no mixture of arrays and slices.
    place = (token[:, None], head[:, None], jnp.arange(head_dim)[None, :])
    at_row_h = tuple(jnp.broadcast_to(x, (rows, head_dim)) for x in place)
    exists_h = jnp.broadcast_to(exists[:, None], (rows, head_dim))

    q = plgpu.load(q_ref.at[at_row_h], mask=exists_h, other=0.0)
    bounds = Ranges(*(ranges_ref[0, i] for i in range(len(Ranges._fields))))
    scale = LOG2_E / head_dim**0.5  # exp2 is what the hardware has
    dot = partial(
        lax.dot_general,
        precision=lax.Precision.HIGHEST if q.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )

    def load(ref: Ref, tile: jax.Array, masked: bool) -> jax.Array:
        if masked and static.slots % keys:
            inside = (tile * keys + jnp.arange(keys) < static.slots)[:, None]
            inside = jnp.broadcast_to(inside, (keys, head_dim))
            return plgpu.load(ref.at[pl.ds(tile * keys, keys), :], mask=inside, other=0.0)
        return ref[pl.ds(tile * keys, keys), :]

    def visit(tile: jax.Array, state: State, rows_see: tuple[jax.Array, ...] | None = None) -> State:
        """One step of the online softmax; `rows_see` is None where every row sees every key of the tile."""
        top, total, acc = state
        masked = rows_see is not None
        scores = dot(q, load(k_ref, tile, masked), (((1,), (1,)), ((), ())))
        if rows_see is not None:
            seen = _seen(kv_pos_ref[pl.ds(tile * keys, keys)], *rows_see)
            scores = jnp.where(seen, scores * scale, -jnp.inf)
            new_top = jnp.maximum(top, scores.max(1))
            pivot = jnp.where(new_top == -jnp.inf, 0.0, new_top)  # a row that has seen nothing yet
            weights = exp2(scores - pivot[:, None])
        else:
            new_top = jnp.maximum(top, scores.max(1) * scale)
            pivot = new_top
            weights = exp2(scores * scale - pivot[:, None])
        rescale = exp2(top - pivot)
        total = total * rescale + weights.sum(1)
        by_column = static.tiles.v_by_column
        v = v_ref[:, pl.ds(tile * keys, keys)] if by_column else load(v_ref, tile, masked)
        acc = acc * rescale[:, None] + dot(weights.astype(v.dtype), v, (((1,), (int(by_column),)), ((), ())))
        return new_top, total, acc

    state = lax.fori_loop(bounds.dense_start, bounds.dense_end, visit, _nothing_seen(rows, head_dim))
    # Read only here: registers are short in the loop above.
    rows_see = pos, left, sink = pos_ref[...], left_ref[...], sink_ref[...]

    def visit_if_visible(i: jax.Array, counted: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        tile = masked_tile(bounds, i)
        kv_pos = kv_pos_ref[pl.ds(tile * keys, keys)]
        state, visited = counted
        return lax.cond(
            _sees_some(kv_pos, pos, left, sink),
            lambda: (visit(tile, state, rows_see), visited + 1),
            lambda: (state, visited),
        )

    n_dense = bounds.dense_end - bounds.dense_start
    n_masked = bounds.sink_end - bounds.sink_start + bounds.near_end - bounds.near_start - n_dense
    n_untested = jnp.where(bounds.tested == 1, 0, n_masked)
    state = lax.fori_loop(0, n_untested, lambda i, x: visit(masked_tile(bounds, i), x, rows_see), state)
    n_tested = n_masked - n_untested
    state, visited = lax.fori_loop(0, n_tested, visit_if_visible, (state, n_dense + n_untested))

    plgpu.store(out_ref.at[at_row_h], _normalised(state, pos).astype(out_ref.dtype), mask=exists_h)
    visited_ref[0] = visited
    if lse_ref:
        plgpu.store(lse_ref[0].at[head, token], _log_sum(state, pos), mask=exists)


def _nothing_seen(rows: int, head_dim: int) -> State:
    """Before the first tile."""
    zeros = partial(jnp.zeros, dtype=jnp.float32)
    return jnp.full(rows, -jnp.inf, jnp.float32), zeros(rows), zeros((rows, head_dim))


def _seen(kv_pos: jax.Array, pos: jax.Array, left: jax.Array, sink: jax.Array) -> jax.Array:
    """Which key of a tile each row sees."""
    kv_pos = kv_pos[None, :]
    return (kv_pos <= pos[:, None]) & ((kv_pos > left[:, None]) | (kv_pos < sink[:, None]))


def _normalised(state: State, pos: jax.Array) -> jax.Array:
    """Each row's weighted values over its sum of weights; 0 for one that sees nothing."""
    _, total, acc = state
    sees = (total > 0) & (pos >= 0)  # a padding query may have been computed without a mask
    return acc * jnp.where(sees, 1 / jnp.where(sees, total, 1), 0)[:, None]


def _log_sum(state: State, pos: jax.Array) -> jax.Array:
    """The log of each row's sum of weights; -inf for one that sees nothing."""
    top, total, _ = state
    sees = (total > 0) & (pos >= 0)
    return jnp.where(sees, (top + jnp.log2(jnp.where(sees, total, 1))) / LOG2_E, -jnp.inf)


def _sees_some(kv_pos: jax.Array, pos: jax.Array, left: jax.Array, sink: jax.Array) -> jax.Array:
    """Whether some row may see some key of a tile."""
    low, high = kv_pos.min(0), jnp.where(kv_pos == EMPTY, -1, kv_pos).max(0)
    is_row = pos >= 0
    beyond_left = high > jnp.where(is_row, left, UNBOUNDED).min(0)
    return (low <= pos.max(0)) & (beyond_left | (low < jnp.where(is_row, sink, 0).max(0)))


def exp2_ptx(x: jax.Array) -> jax.Array:
    """2**x of float32 as one instruction of PTX, which flushes results below 2**-126 to zero."""
    [result] = plgpu.elementwise_inline_asm(
        "ex2.approx.ftz.f32 $0, $1;",
        args=[x],
        constraints="=r,r",
        pack=1,
        result_shape_dtypes=[jax.ShapeDtypeStruct(x.shape, jnp.float32)],
    )
    return result
