"""Each head's norm and its rotation: in one pass over memory on a GPU, in plain XLA elsewhere."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention.kernels.derivative import with_derivative_of
from attention.kernels.target import current_target, is_gpu
from attention.stacked import LayerOf, as_array
from refmodel.norm import rms_norm
from refmodel.parts import Norm
from refmodel.rope import Angles, apply_rope


def norm_and_rope(
    x_btnh: Float[Array, "b t n h"], scale_h: Float[Array, " h"] | LayerOf, angles: Angles, norm: Norm
) -> Float[Array, "b t n h"]:
    """rope(rms_norm(x)), [B, T, N, H]: the kernel on a GPU, where H is a power of two and all of it rotated; plain XLA
    elsewhere.

    The kernel reads a scale that is a layer of a stack where it lies.
    """
    plain = partial(_plain, norm=norm)
    half = x_btnh.shape[-1] // 2
    if is_gpu(current_target()) and half >= 16 and half & (half - 1) == 0 and angles[0].shape[-1] == half:
        return with_derivative_of(plain, partial(_fused, norm=norm))(x_btnh, scale_h, angles)
    return plain(x_btnh, scale_h, angles)


def _plain(x_btnh: jax.Array, scale_h: jax.Array | LayerOf, angles: Angles, *, norm: Norm) -> jax.Array:
    return apply_rope(rms_norm(x_btnh, as_array(scale_h), norm), angles)


def _fused(x_btnh: jax.Array, scale_h: jax.Array | LayerOf, angles: Angles, *, norm: Norm) -> jax.Array:
    from refmodel.kernels.norm_rope_pallas import norm_and_rope_pallas  # loads Triton's compiler

    scale_h = norm.offset + as_array(scale_h).astype(jnp.float32) if norm.offset else scale_h
    return norm_and_rope_pallas(x_btnh, scale_h, angles, eps=norm.eps)
