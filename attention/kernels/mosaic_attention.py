"""Attention as one Pallas-Mosaic kernel for Hopper: what `pallas_attention` computes, for keys that stand in order.

A program works through items of 128 queries of one head.  Two warpgroups have 64 of them each and take turns at the
tensor cores: one multiplies while the other is at its softmax (FlashAttention-3, Shah et al., 2407.08608).  In its turn
a warpgroup queues weights·V of one tile and Q·Kᵀ of the next, one behind the other.  A third warpgroup has the copy
engine bring queries, keys and values, those of the next item too.  Spans and sinks are data, and
`attention.kernels.pallas_ranges` says which tiles are visited.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as mgpu

from attention.kernels.pallas_attention import check_operands
from attention.kernels.pallas_backward import attention_gradients
from attention.kernels.pallas_ranges import Ranges, find_ranges, masked_tile
from attention.pattern import pad_positions

HEAD_SIZES = 64, 128
ROWS = 64
"""Queries of a warpgroup: what one instruction of Hopper's tensor cores takes."""
KEYS = 128
"""Keys of a tile."""
STAGES = 2
"""Tiles of keys and of values in shared memory."""

CACHE_BYTES = 40_000_000
"""Of keys and values that stay in the L2 cache: of the H100's 50 MB, most."""

LEAST = -1e30
"""The greatest score before any: finite, so that a row that has seen nothing yet rescales by one."""

LOG2_E = float(np.log2(np.e))


def attend_mosaic(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_bnt: jax.Array,
    span_bnt: jax.Array,
    sink_n: jax.Array,
    *,
    programs: int | None = None,
    interpret: Any = None,
    return_lse: bool = False,
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """`attend_pallas` for keys at positions 0, 1, 2, ...

    A query at p sees the key at s iff s <= p and (s < sink or p - s < span).  Spans, sinks and the positions of queries
    are data.  Differentiable in q, k and v.

    Args:
        q_btnh: bfloat16 or float16; H is 64 or 128.
        k_bskh, v_bskh: query head n reads key-value head n // (N / K); key i stands at position i.
        q_pos_bnt: int32 [B or 1, N or K or 1, T], in any order, -1 for padding, whose output is 0.
        span_bnt: int32 [B or 1, N or K or 1, T or 1], keys.
        sink_n: int32 [N or K or 1], keys.
        programs: that share the work, one for each multiprocessor if None.
        interpret: parameters of Pallas' GPU interpreter, to run on any device.

    Returns:
        out [B, T, N, H] in q's dtype; log-sum-exp of the scaled scores [B, N, T] in float32 (-inf where nothing is
        seen) if `return_lse`, else None; tiles of 128 rows and 128 keys visited, a float32 (an int32 may be too small).

    Raises:
        ValueError: a dtype or head size that the kernel is not made for, or shapes that do not belong together.
    """
    kv_pos_bks = jax.ShapeDtypeStruct((1, 1, k_bskh.shape[1]), jnp.int32)
    check_operands(q_btnh, k_bskh, v_bskh, q_pos_bnt, kv_pos_bks, span_bnt, sink_n)
    dtypes = {str(x.dtype) for x in (q_btnh, k_bskh, v_bskh)}
    if q_btnh.shape[-1] not in HEAD_SIZES or len(dtypes) > 1 or q_btnh.dtype.itemsize != 2:
        raise ValueError(
            f"the kernel takes 16-bit heads of {' or '.join(map(str, HEAD_SIZES))}, all of one dtype, got "
            f"{', '.join(sorted(dtypes))} of {q_btnh.shape[-1]}"
        )
    if not q_btnh.size or not k_bskh.size:
        raise ValueError(f"the kernel takes at least one query and one key, got {q_btnh.shape} and {k_bskh.shape}")
    programs, interpret = programs or _multiprocessors(), interpret or None
    return _attend(q_btnh, k_bskh, v_bskh, q_pos_bnt, span_bnt, sink_n, programs, interpret, return_lse)


@partial(jax.custom_vjp, nondiff_argnums=(6, 7, 8))
def _attend(q_btnh, k_bskh, v_bskh, q_pos_bnt, span_bnt, sink_n, programs, interpret, with_lse):
    (b, t, n, _), s = q_btnh.shape, k_bskh.shape[1]
    heads = max(q_pos_bnt.shape[1], span_bnt.shape[1], sink_n.size)
    batch = max(q_pos_bnt.shape[0], span_bnt.shape[0])

    def by_row(x_bnt: jax.Array, fill: int) -> jax.Array:  # [batch, heads, rows], rows up to a multiple of their tile
        x_bnt = jnp.repeat(x_bnt.astype(jnp.int32), heads // x_bnt.shape[1], axis=1)
        x_bnt = jnp.broadcast_to(x_bnt, (batch, heads, t))
        return jnp.pad(x_bnt, [(0, 0), (0, 0), (0, -t % (2 * ROWS))], constant_values=fill)

    pos = by_row(q_pos_bnt, -1)
    left = pos - by_row(span_bnt, 0)  # a row sees the keys right of it
    sink = by_row(sink_n[None, :, None], 0)
    keys = pad_positions(jnp.arange(s, dtype=jnp.int32)[None, None], KEYS, jnp)[0, 0]
    ranges = find_ranges(pos, left, sink, keys, 2 * ROWS, KEYS)
    q, k, v = (_whole_tiles(x, tile) for x, tile in ((q_btnh, 2 * ROWS), (k_bskh, KEYS), (v_bskh, KEYS)))
    run = partial(mosaic_attention, programs=programs, interpret=interpret, with_lse=with_lse)
    last = jnp.minimum(pos, s - 1)  # no row sees the zeros behind the last key
    out, *lse = run(q, k, v, last, left, sink[..., 0], jnp.stack(ranges, -1))
    visited = count_tiles(ranges).sum(dtype=jnp.float32) * ((n // heads) * (b // batch))
    return out[:, :t], lse[0][..., :t] if with_lse else None, visited


def _attend_forward(*operands):
    *arrays, programs, interpret, with_lse = operands
    out_btnh, lse_bnt, visited = _attend(*arrays, programs, interpret, True)
    return (out_btnh, lse_bnt if with_lse else None, visited), (*arrays, out_btnh, lse_bnt)


def _attend_backward(programs, interpret, with_lse, saved, cotangents):
    del programs, interpret
    q, k, v, q_pos, span, sink, out, lse = saved
    d_out, d_lse, _ = cotangents
    kv_pos = jnp.arange(k.shape[1], dtype=jnp.int32)[None, None]
    gradients = attention_gradients(q, k, v, q_pos, kv_pos, span, sink, out, lse, d_out, d_lse if with_lse else None)
    return *gradients, None, None, None


_attend.defvjp(_attend_forward, _attend_backward)


@partial(jax.jit, static_argnames=("programs", "interpret", "with_lse"))
def mosaic_attention(q, k, v, pos, left, sink, ranges, *, programs, interpret, with_lse):
    """The call, by whose name and `ranges` FLOPs are counted (`eval.flops.annotations`)."""
    b, t, n, h = q.shape
    row_tiles = t // (2 * ROWS)
    group = n // k.shape[2]
    shape = _Shape(
        n_heads=n, group=group, head_dim=h, row_tiles=row_tiles, items=row_tiles * n * b,
        band=group * _together(k.shape[2], 2 * k.itemsize * k.shape[1] * h),
        programs=min(row_tiles * n * b, programs), seen_heads=pos.shape[1], seen_batch=pos.shape[0],
        stages=2 * STAGES if h == 64 else STAGES, interpret=interpret is not None,
    )  # fmt: skip
    lse = [jax.ShapeDtypeStruct((b, n, t), jnp.float32)] if with_lse else []
    return mgpu.kernel(
        partial(_kernel, shape=shape),
        out_type=[jax.ShapeDtypeStruct(q.shape, q.dtype), *lse],
        grid=(shape.programs,),
        grid_names=("program",),
        num_threads=3,
        thread_name="warpgroup",
        compiler_params=mgpu.CompilerParams(approx_math=True, unsafe_no_auto_barriers=True),
        **({} if interpret is None else {"interpret": interpret}),
    )(q, k, v, pos, left, sink, ranges)


def _together(kv_heads: int, kv_bytes: int) -> int:
    """Key-value heads to work on at a time: a divisor of all, as many as the L2 cache holds, and one at least."""
    return max(d for d in range(1, kv_heads + 1) if kv_heads % d == 0 and (d == 1 or d * kv_bytes <= CACHE_BYTES))


def _multiprocessors() -> int:
    """Of the device that is there, or an H100's: as many programs share the work, and no result depends on it."""
    return getattr(jax.devices()[0], "core_count", None) or 132


class _Shape(NamedTuple):
    """What a kernel is compiled for."""

    n_heads: int
    group: int  # query heads of a key-value head
    head_dim: int
    row_tiles: int
    band: int  # heads that are worked on at a time
    items: int  # row tiles of all heads and batches
    programs: int
    seen_heads: int  # heads and batches that see something of their own, or 1
    seen_batch: int
    stages: int
    interpret: bool


class _Memory(NamedTuple):
    """Shared memory, and barriers: `full` when a tile has come, `free` when whoever reads it is through."""

    q: Any  # of two items and both warpgroups, [4, rows, H]: also where the result is put
    k: Any
    v: Any
    q_full: Any
    q_free: Any
    k_full: Any
    k_free: Any
    v_full: Any
    v_free: Any
    turn: Any  # of each warpgroup at the tensor cores
    lse: Any = None


class _Item(NamedTuple):
    """128 queries of one head, and the tiles of keys that they visit: first those that need no mask."""

    batch: jax.Array
    head: jax.Array
    row_tile: jax.Array
    seen: tuple[jax.Array, jax.Array]  # batch and head in what says who sees what
    bounds: Ranges

    @property
    def n_dense(self) -> jax.Array:
        return self.bounds.dense_end - self.bounds.dense_start

    @property
    def n_tiles(self) -> jax.Array:
        return count_tiles(self.bounds)

    def rows(self, warpgroup: jax.Array | int) -> pl.Slice:
        return pl.ds(self.row_tile * (2 * ROWS) + warpgroup * ROWS, ROWS)

    def key(self, i: jax.Array) -> jax.Array:
        """First key of the i-th tile."""
        masked = masked_tile(self.bounds, i - self.n_dense)
        return jnp.where(i < self.n_dense, self.bounds.dense_start + i, masked) * KEYS


def count_tiles(bounds: Ranges) -> jax.Array:
    """Tiles of keys that are visited; one, all masked, where nothing is seen, for the result is to be written."""
    return jnp.maximum(1, bounds.sink_end - bounds.sink_start + bounds.near_end - bounds.near_start)


def _kernel(q_ref, k_ref, v_ref, pos_ref, left_ref, sink_ref, ranges_ref, *out_refs, shape: _Shape):
    swizzled = mgpu.TilingTransform((8, 64)), mgpu.SwizzleTransform(128)
    stages = shape.stages

    def tiles(*sizes: int):
        return mgpu.SMEM((*sizes, shape.head_dim), q_ref.dtype, transforms=swizzled)

    def barriers(count: int, arrivals: int = 1):
        return mgpu.Barrier(num_barriers=count, num_arrivals=arrivals)

    def run(*memory):
        memory = _Memory(*memory)
        program = lax.axis_index("program")
        warpgroup = lax.axis_index("warpgroup")
        rounds, rest = divmod(shape.items, shape.programs)
        count = rounds + (_turning(program, rounds, shape) < rest).astype(jnp.int32)

        def item(j):
            j = jnp.minimum(j, count - 1)
            band, number = _divide(j * shape.programs + _turning(program, j, shape), shape.row_tiles * shape.band)
            row_tile, head = _divide(number, shape.band)
            row_tile = shape.row_tiles - 1 - row_tile  # longest walks first
            batch, band = _divide(band, shape.n_heads // shape.band)
            head += band * shape.band
            seen = (
                batch if shape.seen_batch > 1 else jnp.int32(0),
                lax.div(head, jnp.int32(shape.n_heads // shape.seen_heads)),
            )
            bounds = Ranges(*(ranges_ref[*seen, row_tile, i] for i in range(len(Ranges._fields))))
            return _Item(batch, head, row_tile, seen, bounds)

        @pl.when(warpgroup < 2)
        def _():
            mgpu.set_max_registers(232, action="increase")

            @pl.when(warpgroup == 1)
            def _():
                mgpu.barrier_arrive(memory.turn.at[0])  # the first turn is the other's

            def attend_item(j, carry):
                item_, start = carry
                following = item(j + 1)  # read ahead
                rows = pos_ref, left_ref, sink_ref
                _attend_rows(rows, out_refs, memory, item_, j, start, warpgroup, j == count - 1, shape)
                return following, start + item_.n_tiles

            lax.fori_loop(0, count, attend_item, (item(0), jnp.int32(0)))
            mgpu.wait_smem_to_gmem(0)
            mgpu.barrier_arrive(memory.q_free.at[lax.rem(count - 1, jnp.int32(2))])

        @pl.when(warpgroup == 2)
        def _():
            mgpu.set_max_registers(40, action="decrease")

            def bring_item(j, carry):
                item_, start = carry
                following = item(j + 1)
                _bring_tiles(q_ref, k_ref, v_ref, memory, item_, j, start, shape)
                return following, start + item_.n_tiles

            _, total = lax.fori_loop(0, count, bring_item, (item(0), jnp.int32(0)))
            _wait_for_the_last(memory, count, total, shape)

    pl.run_scoped(
        run, tiles(4, ROWS), tiles(stages, KEYS), tiles(stages, KEYS), barriers(4), barriers(2, arrivals=2),
        barriers(stages), barriers(stages, arrivals=2), barriers(stages), barriers(stages, arrivals=2), barriers(2),
        *(mgpu.SMEM((4, ROWS), jnp.float32) for _ in out_refs[1:]), collective_axes="warpgroup",
    )  # fmt: skip


def _turning(program, j, shape: _Shape):
    """Place of a program in the j-th round: from the first to the last, then back, so that loads even out."""
    return jnp.where(j % 2 == 0, program, shape.programs - 1 - program)


def _divide(number, by: int):
    return lax.div(number, jnp.int32(by)), lax.rem(number, jnp.int32(by))


def _bring_tiles(q_ref, k_ref, v_ref, memory: _Memory, item: _Item, j, start, shape: _Shape):
    """Of the j-th item: queries, then tile i + 1 of keys before tile i of values, the order in which they are wanted.

    `start` counts the tiles of the items before.
    """
    kv_head = lax.div(item.head, jnp.int32(shape.group))
    buffer = lax.rem(j, jnp.int32(2))

    @pl.when(j >= 2)
    def _():
        mgpu.barrier_wait(memory.q_free.at[buffer])

    for warpgroup in range(2):
        place = 2 * buffer + warpgroup
        source = q_ref.at[item.batch, item.rows(warpgroup), item.head]
        mgpu.copy_gmem_to_smem(source, memory.q.at[place], memory.q_full.at[place])

    def bring(i, source, target, full, free):
        slot = lax.rem(start + i, jnp.int32(shape.stages))

        @pl.when(start + i >= shape.stages)
        def _():
            mgpu.barrier_wait(free.at[slot])

        keys = pl.ds(item.key(i), KEYS)
        mgpu.copy_gmem_to_smem(source.at[item.batch, keys, kv_head], target.at[slot], full.at[slot])

    def bring_keys(i):
        @pl.when(i < item.n_tiles)
        def _():
            bring(i, k_ref, memory.k, memory.k_full, memory.k_free)

    bring_keys(jnp.int32(0))

    @pl.loop(0, item.n_tiles)
    def _(i):
        bring_keys(i + 1)
        bring(i, v_ref, memory.v, memory.v_full, memory.v_free)


def _wait_for_the_last(memory: _Memory, items, tiles, shape: _Shape):
    """Nothing is left in flight: every arrival at a barrier has been waited for."""

    def wait(free, places: int, number):
        @pl.when(number >= 0)
        def _():
            mgpu.barrier_wait(free.at[lax.rem(number, jnp.int32(places))])

    for back in range(shape.stages):
        wait(memory.k_free, shape.stages, tiles - 1 - back)
        wait(memory.v_free, shape.stages, tiles - 1 - back)
    for back in range(2):
        wait(memory.q_free, 2, items - 1 - back)


def _attend_rows(row_refs, out_refs, memory: _Memory, item: _Item, j, start, warpgroup, is_last, shape: _Shape):
    """A warpgroup's 64 queries of the j-th item; `start` counts the tiles of the items before."""
    pos_ref, left_ref, sink_ref = row_refs
    rows = item.rows(warpgroup)
    pos, left = (_load_rows(ref, (*item.seen, rows), shape) for ref in (pos_ref, left_ref))
    sink = sink_ref[*item.seen]
    buffer = lax.rem(j, jnp.int32(2))
    q = memory.q.at[2 * buffer + warpgroup]
    own, others = memory.turn.at[warpgroup], memory.turn.at[1 - warpgroup]
    scale = LOG2_E / shape.head_dim**0.5  # exp2 is what the hardware has

    def slot(i):
        return lax.rem(start + i, jnp.int32(shape.stages))

    def pass_turn():
        mgpu.barrier_arrive(others)

    def pass_last_turn():
        pl.when((warpgroup == 0) | ~is_last)(pass_turn)  # the very last one has none to pass its turn to

    def step(i, carry, masked: bool, more: bool = True):
        """One step of the online softmax; `more` tiles of keys follow."""
        scores, top, total, acc = carry
        if masked:
            key = item.key(i) + _iota(1, shape)
            pos_rs, left_rs = (lax.broadcast_in_dim(x, key.shape, [0]) for x in (pos, left))
            seen = (key <= pos_rs) & ((key > left_rs) | (key < sink))
            scores = jnp.where(seen, scores, -jnp.inf)
        new_top = jnp.maximum(top, scores.max(axis=1) * scale)
        rescale = jnp.exp2(top - new_top)
        weights = jnp.exp2(scores * scale - lax.broadcast_in_dim(new_top, scores.shape, [0]))
        total = total * rescale + weights.sum(axis=1)
        acc = acc * lax.broadcast_in_dim(rescale, acc.shape, [0])
        # The softmax ends here: nothing of it is to be moved into the turn at the tensor cores.
        acc, total, new_top, weights = lax.optimization_barrier((acc, total, new_top, weights.astype(q.dtype)))
        mgpu.barrier_wait(memory.v_full.at[slot(i)])
        if more:
            mgpu.barrier_wait(memory.k_full.at[slot(i + 1)])
        mgpu.barrier_wait(own)
        k = memory.k.at[slot(i + 1)] if more else None
        acc, scores = _multiply(acc, weights, memory.v.at[slot(i)], q, k, pass_turn if more else pass_last_turn, shape)
        mgpu.barrier_arrive(memory.v_free.at[slot(i)])
        if more:
            mgpu.barrier_arrive(memory.k_free.at[slot(i + 1)])
        return scores, new_top, total, acc

    row = mgpu.Layout.WGMMA.reduce(1)
    top = _laid_out(jnp.full((ROWS,), LEAST, jnp.float32), row, shape)
    total = _laid_out(jnp.zeros((ROWS,), jnp.float32), row, shape)
    acc = _laid_out(jnp.zeros((ROWS, shape.head_dim), jnp.float32), mgpu.Layout.WGMMA, shape)

    mgpu.barrier_wait(memory.q_full.at[2 * buffer + warpgroup])
    mgpu.barrier_wait(memory.k_full.at[slot(0)])
    mgpu.barrier_wait(own)
    scores = _first_scores(q, memory.k.at[slot(0)], pass_turn, shape)
    mgpu.barrier_arrive(memory.k_free.at[slot(0)])

    @pl.when(j > 0)
    def _():  # the result before this one has long been copied
        mgpu.wait_smem_to_gmem(0, wait_read_only=True)
        mgpu.barrier_arrive(memory.q_free.at[1 - buffer])

    last = item.n_tiles - 1
    n_dense = jnp.minimum(item.n_dense, last)
    carry = scores, top, total, acc
    carry = lax.fori_loop(0, n_dense, partial(step, masked=False), carry)
    carry = lax.fori_loop(n_dense, last, partial(step, masked=True), carry)
    _, top, total, acc = step(last, carry, masked=True, more=False)

    sees = (total > 0) & (pos >= 0)  # a padding query may have been computed without a mask
    share = jnp.where(sees, 1 / jnp.where(sees, total, 1), 0)
    q[...] = (acc * lax.broadcast_in_dim(share, acc.shape, [0])).astype(q.dtype)
    copies = [(q, out_refs[0].at[item.batch, rows, item.head])]
    if out_refs[1:]:
        lse = memory.lse.at[2 * buffer + warpgroup]
        lse[...] = jnp.where(sees, top + jnp.log2(jnp.where(sees, total, 1)), -jnp.inf) / LOG2_E
        copies.append((lse, out_refs[1].at[item.batch, item.head, rows]))
    mgpu.commit_smem()
    for source, target in copies:
        mgpu.copy_smem_to_gmem(source, target)


def _first_scores(q, k, then: Callable[[], None], shape: _Shape):
    """Q·Kᵀ [rows, keys] in float32; `then` runs as soon as it is queued."""
    if shape.interpret:
        then()
        scores = _dot(q[...], k[...], 1)
        mgpu.commit_smem()  # threads read here, not the tensor cores: the copy engine is to know
        return scores

    def issue(scores_ref):
        mgpu.wgmma(scores_ref, q, k.transpose((1, 0)))
        then()
        return scores_ref[...]

    return pl.run_scoped(issue, mgpu.ACC((ROWS, KEYS), jnp.float32))


def _multiply(acc, weights, v, q, k, then: Callable[[], None], shape: _Shape):
    """acc + weights·V, and the scores of the next tile of keys, if there is one; `then` runs when both are queued."""
    if shape.interpret:
        then()
        acc += _dot(weights, v[...], 0)
        scores = None if k is None else _dot(q[...], k[...], 1)
        mgpu.commit_smem()
        return acc, scores
    if k is None:

        def issue_last(acc_ref):
            mgpu.wgmma(acc_ref, weights, v)
            then()

        return pl.run_state(issue_last)(mgpu.ACC.init(acc)), None

    def issue(refs):
        acc_ref, scores_ref = refs
        mgpu.wgmma(acc_ref, weights, v)
        mgpu.wgmma(scores_ref, q, k.transpose((1, 0)))
        then()

    zeros = _laid_out(jnp.zeros((ROWS, KEYS), jnp.float32), mgpu.Layout.WGMMA, shape)
    return pl.run_state(issue)((mgpu.ACC.init(acc), mgpu.ACC.init(zeros)))


def _dot(a, b, axis: int):
    return lax.dot_general(a, b, (((1,), (axis,)), ((), ())), preferred_element_type=jnp.float32)


def _laid_out(x, layout, shape: _Shape):
    return x if shape.interpret else mgpu.layout_cast(x, layout)


def _load_rows(ref, at, shape: _Shape):
    if shape.interpret:
        return ref[at]
    source = (ref, at) if jax.__version_info__ < (0, 11) else (ref.at[at],)
    return mgpu.load(*source, layout=mgpu.Layout.WGMMA.reduce(1), optimized=False)


def _iota(axis: int, shape: _Shape):
    if shape.interpret:
        return lax.broadcasted_iota(jnp.int32, (ROWS, KEYS), axis)
    return mgpu.broadcasted_iota(jnp.int32, (ROWS, KEYS), axis, layout=mgpu.Layout.WGMMA)


def _whole_tiles(x: jax.Array, tile: int) -> jax.Array:
    """[B, T, ...] with zeros up to a multiple of `tile`: the copy engine takes whole ones."""
    missing = -x.shape[1] % tile
    return jnp.pad(x, [(0, 0), (0, missing), (0, 0), (0, 0)]) if missing else x
