"""A warpgroup of the Hopper kernel: the online softmax of its 64 queries, in turns at the tensor cores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as mgpu

from attention.kernels.mosaic_item import ROWS, Item, Memory, Static
from attention.kernels.ref import Ref

LEAST = -1e30
"""The greatest score before any: finite, so that a row that has seen nothing yet rescales by one."""

LOG2_E = float(np.log2(np.e))


def attend_rows(
    row_refs: Ref, out_refs: Ref, memory: Memory, item: Item, j: jax.Array, start: jax.Array, warpgroup: jax.Array,
    is_last: jax.Array, static: Static,
) -> None:  # fmt: skip
    """A warpgroup's 64 queries of the j-th item; `start` counts the tiles of the items before."""
    pos_ref, left_ref, sink_ref = row_refs
    rows = item.rows(warpgroup)
    pos, left = (_load_rows(ref, (*item.seen, rows), static) for ref in (pos_ref, left_ref))
    sink = sink_ref[*item.seen]
    buffer = lax.rem(j, jnp.int32(static.q_buffers))
    own, others = memory.turn.at[warpgroup], memory.turn.at[1 - warpgroup]
    scale = LOG2_E / static.head_dim**0.5  # exp2 is what the hardware has

    def slot(i: jax.Array | int) -> jax.Array:
        return lax.rem(start + i, jnp.int32(static.stages))

    def pass_turn() -> None:
        mgpu.barrier_arrive(others)

    def pass_last_turn() -> None:
        pl.when((warpgroup == 0) | ~is_last)(pass_turn)  # the very last one has none to pass its turn to

    def step(i: jax.Array, carry: tuple[Any, ...], masked: bool, more: bool = True) -> tuple[Any, ...]:
        """One step of the online softmax; `more` tiles of keys follow."""
        scores, top, total, acc = carry
        if masked:
            key = item.tile(i) * static.keys + _iota(1, static)
            pos_rs, left_rs = (lax.broadcast_in_dim(x, key.shape, [0]) for x in (pos, left))
            seen = (key <= pos_rs) & ((key > left_rs) | (key < sink))
            scores = jnp.where(seen, scores, -jnp.inf)
        new_top = jnp.maximum(top, scores.max(axis=1) * scale)
        rescale = jnp.exp2(top - new_top)
        weights = jnp.exp2(scores * scale - lax.broadcast_in_dim(new_top, scores.shape, [0]))
        total = total * rescale + weights.sum(axis=1)
        acc = acc * lax.broadcast_in_dim(rescale, acc.shape, [0])
        # The softmax ends here: nothing of it is to be moved into the turn at the tensor cores.
        acc, total, new_top, weights = lax.optimization_barrier((acc, total, new_top, weights.astype(memory.v.dtype)))
        mgpu.barrier_wait(memory.v_full.at[slot(i)])
        if more:
            mgpu.barrier_wait(memory.k_full.at[slot(i + 1)])
        mgpu.barrier_wait(own)
        k = memory.k.at[slot(i + 1)] if more else None
        acc, scores = _multiply(acc, weights, memory.v.at[slot(i)], q, k, pass_turn if more else pass_last_turn, static)
        mgpu.barrier_arrive(memory.v_free.at[slot(i)])
        if more:
            mgpu.barrier_arrive(memory.k_free.at[slot(i + 1)])
        return scores, new_top, total, acc

    row = mgpu.Layout.WGMMA.reduce(1)
    top = _laid_out(jnp.full((ROWS,), LEAST, jnp.float32), row, static)
    total = _laid_out(jnp.zeros((ROWS,), jnp.float32), row, static)
    acc = _laid_out(jnp.zeros((ROWS, static.head_dim), jnp.float32), mgpu.Layout.WGMMA, static)

    mgpu.barrier_wait(memory.q_full.at[2 * buffer + warpgroup])
    q = _queries(memory.q, 2 * buffer + warpgroup, static)
    mgpu.barrier_wait(memory.k_full.at[slot(0)])
    mgpu.barrier_wait(own)
    scores = _first_scores(q, memory.k.at[slot(0)], pass_turn, static)
    mgpu.barrier_arrive(memory.k_free.at[slot(0)])

    def free(buffer: jax.Array) -> None:
        """The place of queries and of their result, once it is copied."""
        mgpu.wait_smem_to_gmem(0, wait_read_only=True)
        mgpu.barrier_arrive(memory.q_free.at[buffer])

    if static.q_buffers > 1:
        pl.when(j > 0)(lambda: free(1 - buffer))  # the result before this one has long been copied

    last = item.n_tiles - 1
    n_dense = jnp.minimum(item.n_dense, last)
    carry = scores, top, total, acc
    carry = lax.fori_loop(0, n_dense, partial(step, masked=False), carry)
    carry = lax.fori_loop(n_dense, last, partial(step, masked=True), carry)
    _, top, total, acc = step(last, carry, masked=True, more=False)

    _put_out((top, total, acc), pos, out_refs, memory, item, rows, buffer, warpgroup)
    if static.q_buffers == 1:
        free(buffer)


def _put_out(
    state: tuple[jax.Array, jax.Array, jax.Array], pos: jax.Array, out_refs: Ref, memory: Memory, item: Item,
    rows: slice | pl.Slice, buffer: jax.Array, warpgroup: jax.Array,
) -> None:  # fmt: skip
    """The result of a warpgroup's queries on its way, from the place in shared memory where they were."""
    top, total, acc = state
    sees = (total > 0) & (pos >= 0)  # a padding query may have been computed without a mask
    share = jnp.where(sees, 1 / jnp.where(sees, total, 1), 0)
    out = memory.q.at[2 * buffer + warpgroup]
    out[...] = (acc * lax.broadcast_in_dim(share, acc.shape, [0])).astype(out.dtype)
    copies = [(out, out_refs[0].at[item.batch, rows, item.head])]
    if out_refs[1:]:
        lse = memory.lse.at[2 * buffer + warpgroup]
        lse[...] = jnp.where(sees, top + jnp.log2(jnp.where(sees, total, 1)), -jnp.inf) / LOG2_E
        copies.append((lse, out_refs[1].at[item.batch, item.head, rows]))
    mgpu.commit_smem()
    for source, target in copies:
        mgpu.copy_smem_to_gmem(source, target)


def _queries(q_ref: Ref, place: jax.Array, static: Static) -> jax.Array | Ref:
    """For the products: in registers, or where they are, beside a result that takes half of all registers."""
    if static.head_dim == 256 and not static.interpret:
        return q_ref.at[place]
    return _laid_out(q_ref[place], mgpu.Layout.WGMMA, static)


def _first_scores(q: jax.Array | Ref, k: Ref, then: Callable[[], None], static: Static) -> jax.Array:
    """Q·Kᵀ [rows, keys] in float32; `then` runs as soon as it is queued."""
    if static.interpret:
        then()
        scores = _dot(q, k[...], 1)
        mgpu.commit_smem()  # threads read here, not the tensor cores: the copy engine is to know
        return scores

    def issue(scores_ref: Ref) -> jax.Array:
        mgpu.wgmma(scores_ref, q, k.transpose((1, 0)))
        then()
        return scores_ref[...]

    return pl.run_scoped(issue, mgpu.ACC((ROWS, static.keys), jnp.float32))


def _multiply(
    acc: jax.Array, weights: jax.Array, v: Ref, q: jax.Array | Ref, k: Ref, then: Callable[[], None], static: Static
) -> tuple[jax.Array, jax.Array | None]:
    """acc + weights·V, and the scores of the next tile of keys, if there is one; `then` runs when both are queued."""
    if static.interpret:
        then()
        acc += _dot(weights, v[...], 0)
        scores = None if k is None else _dot(q, k[...], 1)
        mgpu.commit_smem()
        return acc, scores
    if k is None:

        def issue_last(acc_ref: Ref) -> None:
            mgpu.wgmma(acc_ref, weights, v)
            then()

        return pl.run_state(issue_last)(mgpu.ACC.init(acc)), None

    def issue(refs: Ref) -> None:
        acc_ref, scores_ref = refs
        mgpu.wgmma(acc_ref, weights, v)
        mgpu.wgmma(scores_ref, q, k.transpose((1, 0)))
        then()

    zeros = _laid_out(jnp.zeros((ROWS, static.keys), jnp.float32), mgpu.Layout.WGMMA, static)
    return pl.run_state(issue)((mgpu.ACC.init(acc), mgpu.ACC.init(zeros)))


def _dot(a: jax.Array, b: jax.Array, axis: int) -> jax.Array:
    return lax.dot_general(a, b, (((1,), (axis,)), ((), ())), preferred_element_type=jnp.float32)


def _laid_out(x: jax.Array, layout: Any, static: Static) -> jax.Array:
    return x if static.interpret else mgpu.layout_cast(x, layout)


def _load_rows(ref: Ref, at: Any, static: Static) -> jax.Array:
    if static.interpret:
        return ref[at]
    source = (ref, at) if jax.__version_info__ < (0, 11) else (ref.at[at],)
    return mgpu.load(*source, layout=mgpu.Layout.WGMMA.reduce(1), optimized=False)


def _iota(axis: int, static: Static) -> jax.Array:
    if static.interpret:
        return lax.broadcasted_iota(jnp.int32, (ROWS, static.keys), axis)
    return mgpu.broadcasted_iota(jnp.int32, (ROWS, static.keys), axis, layout=mgpu.Layout.WGMMA)
