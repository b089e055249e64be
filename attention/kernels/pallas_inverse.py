"""Inverses of triangular matrices, and the products of which they are made, inside a Pallas-Triton kernel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


def inverses(below: tuple[jax.Array, ...], exact: bool) -> tuple[jax.Array, ...]:
    """(I + A)⁻¹ of each A [C, C], of which what is below the diagonal counts; C is a power of two.

    Blocks of 1, 2, 4, ... rows on the diagonal are inverted, and two of them joined by
    (P 0; R Q)⁻¹ = (P⁻¹ 0; -Q⁻¹ R P⁻¹ Q⁻¹).
    """
    size = len(below[0])
    row, column = jnp.arange(size)[:, None], jnp.arange(size)[None]

    def across(power: jax.Array | int, a: jax.Array) -> jax.Array:
        """The blocks R that join blocks of 2^power rows."""
        return jnp.where(((row >> power) == (column >> power) + 1) & ((row >> power) % 2 == 1), a, 0.0)

    def join(power: jax.Array, inverses: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        pairs = zip(inverses, below, strict=True)
        return tuple(x - product(product(x, across(power, a), exact), x, exact) for x, a in pairs)

    pairs_of_rows = tuple(jnp.where(row == column, 1.0, 0.0) - across(0, a) for a in below)
    # A loop and no unrolled code: what the compiler moves ahead of its use takes registers from a second program.
    return lax.fori_loop(1, size.bit_length() - 1, join, pairs_of_rows)


def product(x: jax.Array, y: jax.Array, exact: bool) -> jax.Array:
    """Of float32 matrices: `exact`, or to 2^-16 by products of what bfloat16 holds and of what it leaves."""
    if exact:
        return dot(x, y, (1, 0))

    def parts(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        high = z.astype(jnp.bfloat16)
        return high, (z - high.astype(jnp.float32)).astype(jnp.bfloat16)

    (x1, x2), (y1, y2) = parts(x), parts(y)
    return dot(x1, y1, (1, 0)) + (dot(x1, y2, (1, 0)) + dot(x2, y1, (1, 0)))


def dot(x: jax.Array, y: jax.Array, contract: tuple[int, int]) -> jax.Array:
    """The sum over an axis of each, in float32; products of float32 at full precision."""
    exact = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    dimensions = ((contract[:1], contract[1:]), ((), ()))
    return lax.dot_general(x, y, dimensions, precision=exact, preferred_element_type=jnp.float32)
