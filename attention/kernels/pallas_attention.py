"""Attention as one Pallas-Triton kernel, for CUDA and ROCm: spans and sinks are data, invisible tiles are not visited.

A program takes a tile of rows, where a row is one query in one head, and walks over tiles of keys with an online
softmax (Milakov & Gimelshein, 1805.02867; Dao, 2307.08691).  Where the heads of a group see alike, the rows of a tile
are all heads of the group for a few queries: they read the same keys, so a tile reaches over G times fewer positions
and wastes that much less at the ends of a window.  `attention.kernels.pallas_ranges` says which tiles are visited.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.exact_count import ExactCount
from attention.kernels.pallas_backward import attention_gradients
from attention.kernels.pallas_program import EMPTY, Static, attend_tile, exp2_ptx
from attention.kernels.pallas_ranges import find_ranges
from attention.kernels.target import current_target
from attention.kernels.tiles import AttentionTiles, attention_tiles
from attention.pattern import pad_positions


def attend_pallas(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_bnt: jax.Array,
    kv_pos_bks: jax.Array,
    span_bnt: jax.Array,
    sink_n: jax.Array,
    *,
    tiles: AttentionTiles | None = None,
    interpret: bool = False,
    return_lse: bool = False,
) -> tuple[jax.Array, jax.Array | None, ExactCount]:
    """softmax(q·k / sqrt(H), over visible keys)·v; 0 for a query that sees nothing.

    A query at p sees the key at s iff 0 <= s <= p and (s < sink or p - s < span).  All of it is data: a program
    compiled once serves every window.  Differentiable in q, k and v.

    Args:
        q_btnh: bfloat16, float16 or float32; H a power of two in 16..256.
        k_bskh, v_bskh: query head n reads key-value head n // (N / K).
        q_pos_bnt: int32 [B or 1, N or K or 1, T], -1 for padding, whose output is 0.
        kv_pos_bks: int32 [B or 1, K or 1, S], -1 for an empty slot.
        span_bnt: int32 [B or 1, N or K or 1, T or 1], keys.  Heads of a group share tiles unless this says N.
        sink_n: int32 [N or K or 1], keys.
        tiles: sizes of a program, else those of `attention.kernels.tiles` for this device.
        interpret: run the kernel as plain JAX, on any device.

    Returns:
        out [B, T, N, H] in q's dtype; log-sum-exp of the scaled scores [B, N, T] in float32 (-inf where nothing is
        seen) if `return_lse`, else None; tiles visited by all programs.

    Raises:
        ValueError: shapes that do not belong together, or a head size that the kernel is not made for.
    """
    check_operands(q_btnh, k_bskh, v_bskh, q_pos_bnt, kv_pos_bks, span_bnt, sink_n)
    tiles = tiles or attention_tiles(current_target(), q_btnh.dtype, q_btnh.shape[-1])
    integers = (x.astype(jnp.int32) for x in (q_pos_bnt, kv_pos_bks, span_bnt, sink_n))
    return _attend(q_btnh, k_bskh, v_bskh, *integers, tiles, interpret, return_lse)


@partial(jax.custom_vjp, nondiff_argnums=(7, 8, 9))
def _attend(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, q_pos_bnt: jax.Array, kv_pos_bks: jax.Array,
    span_bnt: jax.Array, sink_n: jax.Array, tiles: AttentionTiles, interpret: bool, return_lse: bool,
) -> tuple[jax.Array, jax.Array | None, ExactCount]:  # fmt: skip
    return _forward(
        q_btnh, k_bskh, v_bskh, q_pos_bnt, kv_pos_bks, span_bnt, sink_n, tiles=tiles, interpret=interpret,
        with_lse=return_lse,
    )  # fmt: skip


def _attend_forward(*operands: Any) -> tuple[Any, tuple[Any, ...]]:
    *arrays, tiles, interpret, return_lse = operands
    out_btnh, lse_bnt, visited = _forward(*arrays, tiles=tiles, interpret=interpret, with_lse=True)
    return (out_btnh, lse_bnt if return_lse else None, visited), (*arrays, out_btnh, lse_bnt)


def _attend_backward(
    tiles: AttentionTiles, interpret: bool, return_lse: bool, saved: tuple[Any, ...], cotangents: tuple[Any, ...]
) -> tuple[jax.Array | None, ...]:
    del tiles, interpret
    d_out_btnh, d_lse_bnt, _ = cotangents
    q, k, v, q_pos, kv_pos, span, sink, out, lse = saved
    d_lse_bnt = d_lse_bnt if return_lse else None
    gradients = attention_gradients(q, k, v, q_pos, kv_pos, span, sink, out, lse, d_out_btnh, d_lse_bnt)
    return *gradients, None, None, None, None


_attend.defvjp(_attend_forward, _attend_backward)


def _forward(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, q_pos_bnt: jax.Array, kv_pos_bks: jax.Array,
    span_bnt: jax.Array, sink_n: jax.Array, *, tiles: AttentionTiles, interpret: bool, with_lse: bool,
) -> tuple[jax.Array, jax.Array | None, ExactCount]:  # fmt: skip
    (b, t, n, h), (s, k) = q_btnh.shape, k_bskh.shape[1:3]
    group = n // k
    alike = q_pos_bnt.shape[1] in (1, k) and span_bnt.shape[1] in (1, k)
    packed = group if alike else 1
    static = Static(t, s, group, packed, tiles)
    streams = n // packed
    row_tiles = pl.cdiv(t * packed, tiles.rows)

    def by_row(x_bnt: jax.Array, fill: int) -> jax.Array:  # [B or 1, streams or 1, rows], rows in the order of a tile
        x_bnt = jnp.broadcast_to(x_bnt, (*x_bnt.shape[:2], t))
        if x_bnt.shape[1] == 1:
            rows = jnp.repeat(x_bnt, packed, axis=2)
        else:
            every_head = jnp.repeat(x_bnt, n // x_bnt.shape[1], axis=1).reshape(-1, streams, packed, t)
            rows = every_head.swapaxes(2, 3).reshape(-1, streams, t * packed)
        return jnp.pad(rows, [(0, 0), (0, 0), (0, row_tiles * tiles.rows - t * packed)], constant_values=fill)

    q_pos = by_row(q_pos_bnt, -1)
    left = q_pos - by_row(span_bnt, 0)  # a row sees the keys right of it
    sink = by_row(sink_n[None, :, None], 0)
    kv_pos = pad_positions(kv_pos_bks, tiles.keys, jnp)
    own_keys = kv_pos_bks.shape[1] > 1
    kv_of_stream = jnp.repeat(kv_pos, streams // k, axis=1) if own_keys else kv_pos
    ranges = jnp.stack(find_ranges(q_pos, left, sink, kv_of_stream, tiles.rows, tiles.keys), -1)
    ranges = jnp.pad(ranges, [(0, 0), (0, 0), (0, 0), (0, 1)])

    def of_program(x: jax.Array | jax.ShapeDtypeStruct, *block: int) -> pl.BlockSpec:
        """The block of a row tile from [B or 1, streams or 1, ...], longest walks (the last rows) first."""
        batches, heads = x.shape[0] > 1, x.shape[1] > 1
        rest = (0,) * (len(block) - 1)
        return pl.BlockSpec((None, None, *block), lambda i, j, b: (b * batches, j * heads, row_tiles - 1 - i, *rest))

    def keys_of_program(x: jax.Array) -> pl.BlockSpec:
        return pl.BlockSpec((None, s, None, h), lambda i, j, b: (b, 0, j * packed // group, 0))

    v, v_of_program = v_bskh, keys_of_program(v_bskh)
    if tiles.v_by_column:
        slots = kv_pos.shape[-1]  # whole tiles, so that nothing beyond the last key needs a mask
        v = jnp.pad(v_bskh, [(0, 0), (0, slots - s), (0, 0), (0, 0)]).transpose(0, 2, 3, 1)
        v_of_program = pl.BlockSpec((None, None, h, slots), lambda i, j, b: (b, j * packed // group, 0, 0))
    kv_positions = pl.BlockSpec(
        (None, None, kv_pos.shape[-1]),
        lambda i, j, b: (b * (kv_pos.shape[0] > 1), (j * packed // group) * own_keys, 0),
    )
    whole = pl.BlockSpec((None, t, n, h), lambda i, j, b: (b, 0, 0, 0))
    visited_of_program = jax.ShapeDtypeStruct((b, streams, row_tiles), jnp.int32)
    out_shape = [jax.ShapeDtypeStruct(q_btnh.shape, q_btnh.dtype), visited_of_program]
    out_specs = [whole, of_program(visited_of_program, 1)]
    if with_lse:
        out_shape.append(jax.ShapeDtypeStruct((b, n, t), jnp.float32))
        out_specs.append(pl.BlockSpec((None, n, t), lambda i, j, b: (b, 0, 0)))
    out_btnh, visited, *lse_bnt = pl.pallas_call(
        partial(
            attend_tile, static=static, row_tiles=row_tiles, exp2=exp2_ptx if tiles.ptx and not interpret else jnp.exp2
        ),
        grid=(row_tiles, streams, b),
        in_specs=[
            whole,
            keys_of_program(k_bskh),
            v_of_program,
            of_program(q_pos, tiles.rows),
            of_program(left, tiles.rows),
            of_program(sink, tiles.rows),
            kv_positions,
            of_program(ranges, 1, ranges.shape[-1]),
        ],
        out_specs=out_specs,
        out_shape=out_shape,
        compiler_params=plgpu.CompilerParams(num_warps=tiles.warps, num_stages=tiles.stages),
        interpret=interpret,
        name="span_attention",
        metadata={"rows": str(tiles.rows), "keys": str(tiles.keys)},  # for whoever counts what `ranges` visits
    )(q_btnh, k_bskh, v, q_pos, left, sink, jnp.where(kv_pos < 0, EMPTY, kv_pos), ranges)
    return out_btnh, lse_bnt[0] if with_lse else None, ExactCount.of(visited)


def check_operands(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, q_pos_bnt: jax.Array,
    kv_pos_bks: jax.Array | jax.ShapeDtypeStruct, span_bnt: jax.Array, sink_n: jax.Array,
) -> None:  # fmt: skip
    """Raises `ValueError` for shapes that do not belong together, in one line."""
    (b, t, n, h), (s, k) = q_btnh.shape, k_bskh.shape[1:3]
    for name, array in (("k", k_bskh), ("v", v_bskh)):
        if array.shape != (b, s, k, h):
            raise ValueError(f"{name} must be [B, S, K, H] = {(b, s, k, h)} to fit q {q_btnh.shape}, got {array.shape}")
    if n % k:
        raise ValueError(f"{n} query heads are not a multiple of {k} key-value heads")
    if h not in (16, 32, 64, 128, 256):
        raise ValueError(f"the kernel takes head sizes 16, 32, 64, 128 and 256, got {h}")
    sides = {
        "q_pos_bnt": (q_pos_bnt, ((b, 1), (n, k, 1), (t,))),
        "kv_pos_bks": (kv_pos_bks, ((b, 1), (k, 1), (s,))),
        "span_bnt": (span_bnt, ((b, 1), (n, k, 1), (t, 1))),
        "sink_n": (sink_n, ((n, k, 1),)),
    }
    for name, (side, accepted) in sides.items():
        if len(side.shape) != len(accepted) or any(x not in y for x, y in zip(side.shape, accepted, strict=True)):
            raise ValueError(f"{name} must have sizes out of {accepted}, got {side.shape}")
