"""Attention of few queries to many keys, in two Pallas-Triton kernels for CUDA and ROCm.

A decode step has one query and no tile of rows to divide among the multiprocessors, so its keys are divided instead,
and the parts merged by their log-sum-exps (Flash-Decoding: Dao et al., 2023).  The queries of a key-value head's group
are the rows of one tile and share each key that is read.  Keys and values are read where they lie in their stack.
A program looks at the positions of its own slots first, and then reads no tile before the first or behind the last that
some row sees: what a step costs follows from what its pattern can see.  A token that is not in the stack yet is a
part more in the merge.
"""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.attended import Attended
from attention.exact_count import ExactCount
from attention.kernels.dense import attend_dense
from attention.kernels.derivative import with_derivative_of
from attention.kernels.pallas_merge import OwnToken, merge_parts
from attention.kernels.pallas_program import LOG2_E
from attention.kernels.ref import Ref
from attention.kernels.target import current_target
from attention.kernels.tiles import DecodeTiles, decode_tiles
from attention.pattern import UNBOUNDED, SpanPattern, Spans, head_spans
from attention.stacked import Beside, InStack, in_stack

NAME: Final = "decode_attention"
"""Of the first kernel in compiled programs; `attention.kernels.pallas_merge` is the second."""
LEAST_ROWS: Final = 16
"""Of an operand of a matrix unit."""


def attend_decode(
    q_btnh: jax.Array,
    k_bskh: jax.Array | InStack,
    v_bskh: jax.Array | InStack,
    q_pos_bt: jax.Array,
    kv_pos_bks: jax.Array | InStack,
    pattern: SpanPattern | Spans,
    *,
    tiles: DecodeTiles | None = None,
    interpret: bool = False,
) -> Attended:
    """`attend_dense` for few queries; `visited` counts the tiles between the first and the last that a part reads.

    Args:
        k_bskh, v_bskh, kv_pos_bks: arrays, or one layer of stacks, which is not copied; or that and the token of a
            single query beside it.
        tiles: sizes of a program, else those of `attention.kernels.tiles` for this device.
        interpret: run the kernels as plain JAX, on any device.
    """
    uniform = isinstance(pattern, SpanPattern) and pattern.is_uniform  # then heads share one number
    span_bnt, sink_n = map(jnp.asarray, head_spans(pattern, 1 if uniform else q_btnh.shape[2]))
    tiles = tiles or decode_tiles(current_target(), q_btnh.dtype, q_btnh.shape[3])
    kernel = with_derivative_of(_plain, partial(_forward, tiles=tiles, interpret=interpret))
    in_stacks = (x if isinstance(x, InStack) else in_stack(x) for x in (k_bskh, v_bskh, kv_pos_bks))
    return kernel(q_btnh, *in_stacks, q_pos_bt, span_bnt, sink_n)


def _plain(
    q_btnh: jax.Array, k: InStack, v: InStack, kv_pos: InStack, q_pos_bt: jax.Array, span_bnt: jax.Array,
    sink_n: jax.Array,
) -> Attended:  # fmt: skip
    out_btnh, lse_bnt = attend_dense(q_btnh, k.read(), v.read(), q_pos_bt, kv_pos.read(), Spans(span_bnt, sink_n))
    return Attended(out_btnh, lse_bnt, ExactCount.constant(0))


def _forward(
    q_btnh: jax.Array, k: InStack, v: InStack, kv_pos: InStack, q_pos_bt: jax.Array, span_bnt: jax.Array,
    sink_n: jax.Array, *, tiles: DecodeTiles, interpret: bool,
) -> Attended:  # fmt: skip
    own = OwnToken(q_btnh, k.own, v.own, q_pos_bt) if isinstance(k, Beside) and isinstance(v, Beside) else None
    k, v, kv_pos = map(in_stack, (k, v, kv_pos))
    (b, t, n, h), (s, n_kv) = q_btnh.shape, k.shape[1:3]
    static = _Static(n // n_kv, t * n // n_kv, *_split(s, b * n_kv, tiles), tiles.keys)
    integers = (x.astype(jnp.int32) for x in (q_pos_bt, span_bnt, sink_n, kv_pos.stack, k.layer.reshape(1)))
    part = b, n_kv, static.parts, static.n_rows
    cost = pl.CostEstimate(  # as if every slot were seen: what the dense form computes
        flops=4 * b * n_kv * static.rows * s * h, transcendentals=b * n * t * s,
        bytes_accessed=2 * b * s * n_kv * h * k.dtype.itemsize,
    )  # fmt: skip
    out_bkprh, lse_bkpr, visited = pl.pallas_call(
        partial(_attend_part, static=static),
        grid=(static.parts, n_kv, b),
        out_shape=[
            jax.ShapeDtypeStruct((*part, h), jnp.float32),
            jax.ShapeDtypeStruct(part, jnp.float32),
            jax.ShapeDtypeStruct(part[:-1], jnp.int32),
        ],
        compiler_params=plgpu.CompilerParams(num_warps=tiles.warps, num_stages=tiles.stages),
        interpret=interpret,
        name=NAME,
        cost_estimate=cost,
    )(q_btnh, k.stack, v.stack, *integers)
    out_btnh, lse_bnt = merge_parts(out_bkprh, lse_bkpr, (b, t, n, h), q_btnh.dtype, own, interpret=interpret)
    counted = ExactCount.of(visited) * (static.rows * tiles.keys)
    return Attended(out_btnh, lse_bnt, counted + ExactCount.constant(b * n) if own else counted)


class _Static(NamedTuple):
    """What the kernels are compiled for: query heads of a group, rows of a key-value head, parts that the slots are cut
    into, tiles of keys in each, and keys in a tile."""

    group: int
    n_rows: int
    parts: int
    part_tiles: int
    keys: int

    @property
    def rows(self) -> int:
        """Rows of a tile: a power of two."""
        return max(LEAST_ROWS, 1 << (self.n_rows - 1).bit_length())


def _split(slots: int, streams: int, tiles: DecodeTiles) -> tuple[int, int]:
    """Parts, and tiles of each, a power of two: about as many programs as the device runs at once."""
    n_tiles = pl.cdiv(slots, tiles.keys)
    wanted = max(1, tiles.programs // streams)
    part_tiles = 1 << (pl.cdiv(n_tiles, wanted) - 1).bit_length()
    return pl.cdiv(n_tiles, part_tiles), part_tiles


def _attend_part(
    q_ref: Ref, k_ref: Ref, v_ref: Ref, q_pos_ref: Ref, span_ref: Ref, sink_ref: Ref, kv_pos_ref: Ref, layer_ref: Ref,
    out_ref: Ref, lse_ref: Ref, visited_ref: Ref, *, static: _Static,
) -> None:  # fmt: skip
    """One part of the slots for the rows of one key-value head."""
    part, kv_head, b = (pl.program_id(axis) for axis in range(3))
    slots, head_dim, keys, rows = k_ref.shape[2], q_ref.shape[-1], static.keys, static.rows
    first_tile = part * static.part_tiles
    row, column = jnp.arange(rows), jnp.arange(head_dim)[None]
    exists = row < static.n_rows
    exists_h = jnp.broadcast_to(exists[:, None], (rows, head_dim))
    token, head = row // static.group, kv_head * static.group + row % static.group

    def of_rows(ref: Ref, *index: jax.Array, other: int) -> jax.Array:
        """An axis of 1 is shared."""
        at = (jnp.broadcast_to(jnp.minimum(i, n - 1), (rows,)) for i, n in zip(index, ref.shape, strict=True))
        return plgpu.load(ref.at[tuple(at)], mask=exists, other=other)

    place = (jnp.broadcast_to(x, (rows, head_dim)) for x in (b, token[:, None], head[:, None], column))
    q = plgpu.load(q_ref.at[tuple(place)], mask=exists_h, other=0.0)
    pos, sink = of_rows(q_pos_ref, b, token, other=-1), of_rows(sink_ref, head, other=0)
    left = pos - of_rows(span_ref, b, head, token, other=0)
    shared = zip((layer_ref[0], b, kv_head), kv_pos_ref.shape[:3], strict=True)
    of_keys = tuple(jnp.minimum(i, n - 1) for i, n in shared)

    def positions(slot: jax.Array) -> jax.Array:
        at = (*(jnp.broadcast_to(x, slot.shape) for x in of_keys), jnp.minimum(slot, slots - 1))
        return plgpu.load(kv_pos_ref.at[at], mask=slot < slots, other=-1)

    tile = jnp.arange(static.part_tiles)
    kv_pos = positions((first_tile + tile[:, None]) * keys + jnp.arange(keys)[None])
    is_row = pos >= 0
    farthest = jnp.where(is_row, left, UNBOUNDED).min(0)
    some = (kv_pos >= 0) & (kv_pos <= pos.max(0)) & ((kv_pos > farthest) | (kv_pos < jnp.where(is_row, sink, 0).max(0)))
    seen_tile = some.astype(jnp.int32).max(1)
    start = jnp.where(seen_tile == 1, tile, static.part_tiles).min(0)
    end = jnp.where(seen_tile == 1, tile + 1, 0).max(0)

    scale = LOG2_E / head_dim**0.5
    dot = partial(
        lax.dot_general,
        precision=lax.Precision.HIGHEST if q.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )

    def visit(i: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        top, total, acc = state
        slot = (first_tile + i) * keys
        inside = jnp.broadcast_to((slot + jnp.arange(keys) < slots)[:, None], (keys, head_dim))

        def load(ref: Ref) -> jax.Array:
            at = ref.at[layer_ref[0], b, pl.ds(slot, keys), kv_head, :]
            return plgpu.load(at, mask=inside if slots % keys else None, other=0.0 if slots % keys else None)

        kv_pos = positions(slot + jnp.arange(keys))[None]
        sees = (kv_pos >= 0) & (kv_pos <= pos[:, None]) & ((kv_pos > left[:, None]) | (kv_pos < sink[:, None]))
        scores = jnp.where(sees, dot(q, load(k_ref), (((1,), (1,)), ((), ()))) * scale, -jnp.inf)
        new_top = jnp.maximum(top, scores.max(1))
        pivot = jnp.where(new_top == -jnp.inf, 0.0, new_top)  # a row that has seen nothing yet
        weights, rescale = jnp.exp2(scores - pivot[:, None]), jnp.exp2(top - pivot)
        v = load(v_ref)
        acc = acc * rescale[:, None] + dot(weights.astype(v.dtype), v, (((1,), (0,)), ((), ())))
        return new_top, total * rescale + weights.sum(1), acc

    zeros = jnp.zeros((rows,), jnp.float32)
    nothing = zeros - jnp.inf, zeros, jnp.zeros((rows, head_dim), jnp.float32)
    top, total, acc = lax.fori_loop(start, end, visit, nothing)
    saw = total > 0
    out = acc * jnp.where(saw, 1 / jnp.where(saw, total, 1), 0)[:, None]
    lse = jnp.where(saw, (top + jnp.log2(jnp.where(saw, total, 1))) / LOG2_E, -jnp.inf)

    def at(*index: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, ...]:
        return tuple(jnp.broadcast_to(x, shape) for x in index)

    plgpu.store(out_ref.at[at(b, kv_head, part, row[:, None], column, shape=out.shape)], out, mask=exists_h)
    plgpu.store(lse_ref.at[at(b, kv_head, part, row, shape=lse.shape)], lse, mask=exists)
    visited_ref[b, kv_head, part] = jnp.maximum(end - start, 0)
