"""Attention as one Pallas-Mosaic kernel for Hopper: what `pallas_attention` computes, for keys that stand in order.

A program works through items of 128 queries of one head.  Two warpgroups have 64 of them each and take turns at the
tensor cores: one multiplies while the other is at its softmax (FlashAttention-3, Shah et al., 2407.08608).  In its turn
a warpgroup queues weights·V of one tile and Q·Kᵀ of the next, one behind the other.  A third warpgroup has the copy
engine bring queries, keys and values, those of the next item too.  Two programs that stand at two heads of the same
keys, of which they see the same, share what is brought.  Spans and sinks are data, and
`attention.kernels.pallas_ranges` says which tiles are visited.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas import mosaic_gpu as mgpu

from attention.exact_count import ExactCount
from attention.kernels.mosaic_item import CLUSTER, ROWS, count_tiles, make_static
from attention.kernels.mosaic_program import attend_items
from attention.kernels.pallas_attention import check_operands
from attention.kernels.pallas_backward import attention_gradients
from attention.kernels.pallas_ranges import find_ranges
from attention.kernels.tiles import MOSAIC_KEYS
from attention.pattern import pad_positions


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
) -> tuple[jax.Array, jax.Array | None, ExactCount]:
    """`attend_pallas` for keys at positions 0, 1, 2, ...

    A query at p sees the key at s iff s <= p and (s < sink or p - s < span).  Spans, sinks and the positions of queries
    are data.  Differentiable in q, k and v.

    Args:
        q_btnh: bfloat16 or float16; H is 64, 128 or 256.
        k_bskh, v_bskh: query head n reads key-value head n // (N / K); key i stands at position i.
        q_pos_bnt: int32 [B or 1, N or K or 1, T], in any order, -1 for padding, whose output is 0.
        span_bnt: int32 [B or 1, N or K or 1, T or 1], keys.
        sink_n: int32 [N or K or 1], keys.
        programs: that share the work, one for each multiprocessor if None; of an odd number none share keys.
        interpret: parameters of Pallas' GPU interpreter, to run on any device.

    Returns:
        out [B, T, N, H] in q's dtype; log-sum-exp of the scaled scores [B, N, T] in float32 (-inf where nothing is
        seen) if `return_lse`, else None; tiles visited, of 128 rows and `MOSAIC_KEYS` keys.

    Raises:
        ValueError: a dtype or head size that the kernel is not made for, or shapes that do not belong together.
    """
    kv_pos_bks = jax.ShapeDtypeStruct((1, 1, k_bskh.shape[1]), jnp.int32)
    check_operands(q_btnh, k_bskh, v_bskh, q_pos_bnt, kv_pos_bks, span_bnt, sink_n)
    dtypes = {str(x.dtype) for x in (q_btnh, k_bskh, v_bskh)}
    if q_btnh.shape[-1] not in MOSAIC_KEYS or len(dtypes) > 1 or q_btnh.dtype.itemsize != 2:
        raise ValueError(
            f"the kernel takes 16-bit heads of {' or '.join(map(str, MOSAIC_KEYS))}, all of one dtype, got "
            f"{', '.join(sorted(dtypes))} of {q_btnh.shape[-1]}"
        )
    if not q_btnh.size or not k_bskh.size:
        raise ValueError(f"the kernel takes at least one query and one key, got {q_btnh.shape} and {k_bskh.shape}")
    programs, interpret = programs or _multiprocessors(), interpret or None
    return _attend(q_btnh, k_bskh, v_bskh, q_pos_bnt, span_bnt, sink_n, programs, interpret, return_lse)


@partial(jax.custom_vjp, nondiff_argnums=(6, 7, 8))
def _attend(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, q_pos_bnt: jax.Array, span_bnt: jax.Array,
    sink_n: jax.Array, programs: int, interpret: Any, with_lse: bool,
) -> tuple[jax.Array, jax.Array | None, ExactCount]:  # fmt: skip
    (b, t, n, h), s = q_btnh.shape, k_bskh.shape[1]
    key_tile = MOSAIC_KEYS[h]
    heads = max(q_pos_bnt.shape[1], span_bnt.shape[1], sink_n.size)
    batch = max(q_pos_bnt.shape[0], span_bnt.shape[0])

    def by_row(x_bnt: jax.Array, fill: int) -> jax.Array:  # [batch, heads, rows], rows up to a multiple of their tile
        x_bnt = jnp.repeat(x_bnt.astype(jnp.int32), heads // x_bnt.shape[1], axis=1)
        x_bnt = jnp.broadcast_to(x_bnt, (batch, heads, t))
        return jnp.pad(x_bnt, [(0, 0), (0, 0), (0, -t % (2 * ROWS))], constant_values=fill)

    pos = by_row(q_pos_bnt, -1)
    left = pos - by_row(span_bnt, 0)  # a row sees the keys right of it
    sink = by_row(sink_n[None, :, None], 0)
    keys = pad_positions(jnp.arange(s, dtype=jnp.int32)[None, None], key_tile, jnp)[0, 0]
    ranges = find_ranges(pos, left, sink, keys, 2 * ROWS, key_tile)
    q, k, v = (_whole_tiles(x, tile) for x, tile in ((q_btnh, 2 * ROWS), (k_bskh, key_tile), (v_bskh, key_tile)))
    run = partial(mosaic_attention, programs=programs, interpret=interpret, with_lse=with_lse)
    last = jnp.minimum(pos, s - 1)  # no row sees the zeros behind the last key
    out, *lse = run(q, k, v, last, left, sink[..., 0], jnp.stack(ranges, -1))
    visited = ExactCount.of(count_tiles(ranges)) * ((n // heads) * (b // batch))
    return out[:, :t], lse[0][..., :t] if with_lse else None, visited


def _attend_forward(*operands: Any) -> tuple[Any, tuple[Any, ...]]:
    *arrays, programs, interpret, with_lse = operands
    out_btnh, lse_bnt, visited = _attend(*arrays, programs, interpret, True)
    return (out_btnh, lse_bnt if with_lse else None, visited), (*arrays, out_btnh, lse_bnt)


def _attend_backward(
    programs: int, interpret: Any, with_lse: bool, saved: tuple[Any, ...], cotangents: tuple[Any, ...]
) -> tuple[jax.Array | None, ...]:
    del programs, interpret
    q, k, v, q_pos, span, sink, out, lse = saved
    d_out, d_lse, _ = cotangents
    kv_pos = jnp.arange(k.shape[1], dtype=jnp.int32)[None, None]
    gradients = attention_gradients(q, k, v, q_pos, kv_pos, span, sink, out, lse, d_out, d_lse if with_lse else None)
    return *gradients, None, None, None


_attend.defvjp(_attend_forward, _attend_backward)


@partial(jax.jit, static_argnames=("programs", "interpret", "with_lse"))
def mosaic_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, pos: jax.Array, left: jax.Array, sink: jax.Array, ranges: jax.Array, *,
    programs: int, interpret: Any, with_lse: bool,
) -> tuple[jax.Array, ...]:  # fmt: skip
    """The call, by whose name and `ranges` FLOPs are counted (`eval.cost.flops.annotations`)."""
    b, t, n, _ = q.shape
    static = make_static(q, k, pos, programs, interpret is not None)
    clusters: dict[str, Any] = {"cluster": (static.cluster,), "cluster_names": ("rank",)} if static.cluster > 1 else {}
    lse = [jax.ShapeDtypeStruct((b, n, t), jnp.float32)] if with_lse else []
    return mgpu.kernel(
        partial(attend_items, static=static),
        out_type=[jax.ShapeDtypeStruct(q.shape, q.dtype), *lse],
        grid=(static.clusters,),
        grid_names=("cluster",),
        **clusters,
        num_threads=3,
        thread_name="warpgroup",
        compiler_params=mgpu.CompilerParams(approx_math=True, unsafe_no_auto_barriers=True),
        **({} if interpret is None else {"interpret": interpret}),
    )(q, k, v, pos, left, sink, ranges)


def _multiprocessors() -> int:
    """Of the device that is there, or an H100's, in whole clusters: no result depends on how many share the work."""
    count = getattr(jax.devices()[0], "core_count", None) or 132
    return max(CLUSTER, count // CLUSTER * CLUSTER)


def _whole_tiles(x: jax.Array, tile: int) -> jax.Array:
    """[B, T, ...] with zeros up to a multiple of `tile`: the copy engine takes whole ones."""
    missing = -x.shape[1] % tile
    return jnp.pad(x, [(0, 0), (0, missing), (0, 0), (0, 0)]) if missing else x
