"""Each head's norm and its rotation in one pass over memory: a Pallas-Triton kernel, for CUDA and ROCm.

XLA makes two passes of them, for a norm ends one of its fusions: at 16,384 tokens of 32 heads of 128 that is 268 MB of
16-bit numbers read and written a second time in every layer.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.ref import Ref
from attention.stacked import LayerOf, in_stack
from refmodel.rope import Angles

NAME: Final = "norm_rope"
"""Of the kernel in compiled programs."""
ROWS, WARPS = 32, 4
"""Of one program; a row is one head of one token."""


def norm_and_rope_pallas(
    x_btnh: jax.Array, scale_h: jax.Array | LayerOf, angles: Angles, *, eps: float, interpret: bool = False
) -> jax.Array:
    """The kernel: `x_btnh` [B, T, N, H], `scale_h` [H], `angles` as `refmodel.rope.rope_angles` gives them.

    A scale that is a layer of a stack is not copied.

    Computes in float32 and rounds once, at the end.  No derivative.
    """
    *_, n_heads, head_dim = x_btnh.shape
    x_rh = x_btnh.reshape(-1, head_dim)
    scale = in_stack(scale_h)
    cos_th, sin_th = (angle.reshape(-1, head_dim // 2) for angle in angles)
    moved = 2 * x_rh.size * x_rh.dtype.itemsize + 2 * cos_th.size * cos_th.dtype.itemsize
    out_rh = pl.pallas_call(
        partial(_kernel, n_heads=n_heads, eps=eps),
        grid=(pl.cdiv(len(x_rh), ROWS),),
        out_shape=jax.ShapeDtypeStruct(x_rh.shape, x_rh.dtype),
        compiler_params=plgpu.CompilerParams(num_warps=WARPS, num_stages=1),
        interpret=interpret,
        name=NAME,
        cost_estimate=pl.CostEstimate(flops=0, transcendentals=len(x_rh), bytes_accessed=moved),  # no matrix product
    )(x_rh, scale.stack, jnp.asarray(scale.layer, jnp.int32).reshape(1), cos_th, sin_th)
    return out_rh.reshape(x_btnh.shape)


def _kernel(
    x_ref: Ref, scale_ref: Ref, layer_ref: Ref, cos_ref: Ref, sin_ref: Ref, out_ref: Ref, *, n_heads: int, eps: float
) -> None:
    rows, half = x_ref.shape[0], x_ref.shape[1] // 2
    row = pl.program_id(0) * ROWS + jnp.arange(ROWS)
    exists = jnp.broadcast_to((row < rows)[:, None], (ROWS, half))
    token = row // n_heads % cos_ref.shape[0]  # of one row of positions for all, or of each row's own

    def at(ref: Ref, index: jax.Array, first: int = 0) -> Ref:
        """Every index an array of the whole block: interpret mode takes no mixture of arrays and slices."""
        columns = jnp.broadcast_to(first + jnp.arange(half)[None], (ROWS, half))
        return ref.at[jnp.broadcast_to(index[:, None], (ROWS, half)), columns]

    def load(ref: Ref, index: jax.Array, first: int = 0) -> jax.Array:
        return plgpu.load(at(ref, index, first), mask=exists, other=0).astype(jnp.float32)

    halves = load(x_ref, row), load(x_ref, row, half)
    mean = sum(jnp.square(x).sum(1) for x in halves) / (2 * half)
    inverse = lax.rsqrt(mean + eps)[:, None]

    scales = (scale_ref[layer_ref[0], pl.ds(start, half)].astype(jnp.float32)[None] for start in (0, half))
    first, second = (x * inverse * scale for x, scale in zip(halves, scales, strict=True))
    cos, sin = load(cos_ref, token), load(sin_ref, token)
    for start, rotated in ((0, first * cos - second * sin), (half, second * cos + first * sin)):
        plgpu.store(at(out_ref, row, start), rotated.astype(out_ref.dtype), mask=exists)
