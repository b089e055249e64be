"""Root-mean-square norm (Zhang & Sennrich, 1910.07467)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """x / sqrt(mean(x²) + eps) · scale over the last axis; statistics in float32, the result in x's dtype."""
    x32 = x.astype(jnp.float32)
    normed = x32 * lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + eps)
    return (scale * normed.astype(x.dtype)).astype(x.dtype)
