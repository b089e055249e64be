"""The greatest of equals by their place: one order of numbers on every device."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


def first_best(x: Float[Array, "*rows s"], count: int) -> tuple[Float[Array, "*rows p"], Int[Array, "*rows p"]]:
    """The `count` greatest along the last axis and where they are, the first of equals first.

    `lax.top_k` alone takes 0.0 for greater than -0.0, which comparisons and maxima do not.
    """
    best, places = lax.top_k(jnp.where(x == 0, jnp.zeros_like(x), x), count)
    return best, places
