"""A layer's matrix products: of few rows by a kernel on a GPU, else in plain XLA.

A decode step multiplies a row or a few by every weight, and nothing but reading the weights takes time.  Out of a stack
of layers XLA copies the layer's weights first, or expands the product in memory; the kernel reads them where they lie.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attention.kernels.derivative import with_derivative_of
from attention.kernels.target import current_target, is_gpu

MOST_ROWS: Final = 64
"""More are a product that matrix units are busy with."""


def project(
    x: Float[Array, "b t *inner"], stacks: tuple[jax.Array, ...], layer: Int[Array, ""], axes: int = 1, *,
    exact: bool = False,
) -> tuple[Float[Array, "b t ..."], ...]:  # fmt: skip
    """x times the weights [*inner, *outer] of one layer of each stack [L, *inner, *outer]: [B, T, *outer] each.

    `axes` of x are contracted, its last ones.  `exact` sums in float32 at full precision and gives that.
    """
    plain = partial(_plain, axes=axes, exact=exact)
    if not _are_few(x, stacks, axes):
        return plain(x, stacks, layer)
    return with_derivative_of(plain, partial(_few_rows, axes=axes, exact=exact))(x, stacks, layer)


def _are_few(x: jax.Array, stacks: tuple[jax.Array, ...], axes: int) -> bool:
    """Whether the kernel is there, takes the operands and pays."""
    sizes = (math.prod(shape) for stack in stacks for shape in (stack.shape[1 : 1 + axes], stack.shape[1 + axes :]))
    takes = all(size % 16 == 0 for size in sizes) and all(stack.dtype == x.dtype for stack in stacks)
    return math.prod(x.shape[:2]) <= MOST_ROWS and takes and is_gpu(current_target())


def _few_rows(
    x: jax.Array, stacks: tuple[jax.Array, ...], layer: jax.Array, *, axes: int, exact: bool
) -> tuple[jax.Array, ...]:
    from refmodel.kernels.projection_pallas import project_few_rows  # loads Triton's compiler

    depth = math.prod(x.shape[2:])
    matrices = tuple(stack.reshape(len(stack), depth, -1) for stack in stacks)
    products = project_few_rows(x.reshape(-1, depth), matrices, layer, dtype=jnp.float32 if exact else None)
    return tuple(y.reshape(*x.shape[:2], *stack.shape[1 + axes :]) for y, stack in zip(products, stacks, strict=True))


def _plain(x: jax.Array, stacks: tuple[jax.Array, ...], layer: jax.Array, *, axes: int, exact: bool) -> tuple[Any, ...]:
    how: dict[str, Any] = {"precision": "highest", "preferred_element_type": jnp.float32} if exact else {}
    # Without the barrier XLA (of jax 0.11) multiplies by all of them at once on a GPU, then copies each result out.
    several = jax.lax.optimization_barrier((x,) * len(stacks)) if len(stacks) > 1 else (x,)
    layers = (jax.lax.dynamic_index_in_dim(stack, layer, keepdims=False) for stack in stacks)
    return tuple(jnp.tensordot(one, weights, axes, **how) for one, weights in zip(several, layers, strict=True))
