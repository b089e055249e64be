"""Root-mean-square norm (Zhang & Sennrich, 1910.07467)."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from refmodel.parts import Norm


def rms_norm(x: Float[Array, "*axes d"], scale: Float[Array, " d"] | None, norm: Norm) -> Float[Array, "*axes d"]:
    """x / sqrt(mean(x²) + eps) · (offset + scale) over the last axis; statistics in float32, the result in x's dtype.

    Qwen and Llama round the normed x before they scale it, Gemma (`Norm.wide`, and with an offset) after.  Without a
    scale it is the normed x.
    """
    x32 = x.astype(jnp.float32)
    normed = x32 * lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + norm.eps)
    if scale is None:
        return normed.astype(x.dtype)
    if norm.offset or norm.wide:
        return (normed * (norm.offset + scale.astype(jnp.float32))).astype(x.dtype)
    return (scale * normed.astype(x.dtype)).astype(x.dtype)
