"""A layer's matrix products: of few rows by a kernel on a GPU, else in plain XLA.

A decode step multiplies a row or a few by every weight, and nothing but reading the weights takes time.  Out of a stack
of layers XLA copies the layer's weights first, or expands the product in memory; the kernel reads them where they lie,
and decodes packed ones in registers.  Of many rows one packed matrix is expanded at a time.
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
from refmodel.kernels.one_matrix import times_packed
from refmodel.packed.by_layer import PackedByLayer, by_coding
from refmodel.packed.packed import Packed

MOST_ROWS: Final = 64
"""More are a product that matrix units are busy with."""


def project(
    x: Float[Array, "b t *inner"], stacks: tuple[jax.Array | Packed | PackedByLayer, ...], layer: Int[Array, ""],
    axes: int = 1, *, exact: bool = False,
) -> tuple[Float[Array, "b t ..."], ...]:  # fmt: skip
    """x times the weights [*inner, *outer] of one layer of each stack [L, *inner, *outer]: [B, T, *outer] each.

    A packed stack is [L, rows, depth], whose rows become the axes `Packed.outer` of the product where there are any; a
    gradient by it is that of its scales, for integers have none.  `axes` of x are contracted, its last ones.  `exact`
    sums in float32 at full precision and gives that.
    """
    plain = partial(_plain, axes=axes, exact=exact)

    def product(stacks: tuple[jax.Array | Packed, ...]) -> tuple[jax.Array, ...]:
        if not _are_few(x, stacks, axes):
            return plain(x, stacks, layer)
        return with_derivative_of(plain, partial(_few_rows, axes=axes, exact=exact))(x, stacks, layer)

    return by_coding(stacks, layer, product)


def _outer(stack: jax.Array | Packed, axes: int) -> tuple[int, ...]:
    """The axes of a product that are the stack's."""
    return stack.outer or stack.shape[1:2] if isinstance(stack, Packed) else stack.shape[1 + axes :]


def _are_few(x: jax.Array, stacks: tuple[jax.Array | Packed, ...], axes: int) -> bool:
    """Whether the kernel is there, takes the operands and pays."""
    sizes = (math.prod(x.shape[2:]), *(math.prod(_outer(stack, axes)) for stack in stacks))
    takes = all(size % 16 == 0 for size in sizes) and all(stack.dtype == x.dtype for stack in stacks)
    return math.prod(x.shape[:2]) <= MOST_ROWS and takes and is_gpu(current_target())


def _few_rows(
    x: jax.Array, stacks: tuple[jax.Array | Packed, ...], layer: jax.Array, *, axes: int, exact: bool
) -> tuple[jax.Array, ...]:
    from refmodel.kernels import packed_rows  # these load Triton's compiler
    from refmodel.kernels.projection_pallas import project_few_rows

    depth, dtype = math.prod(x.shape[2:]), jnp.float32 if exact else None
    x_rd = x.reshape(-1, depth)
    if packed_rows.takes(stacks, len(x_rd)):
        products = packed_rows.project_packed_rows(x_rd, stacks, layer, dtype=dtype)
    else:
        matrices = tuple(s if isinstance(s, Packed) else s.reshape(len(s), depth, -1) for s in stacks)
        products = project_few_rows(x_rd, matrices, layer, dtype=dtype)
    return tuple(y.reshape(*x.shape[:2], *_outer(stack, axes)) for y, stack in zip(products, stacks, strict=True))


def _plain(
    x: jax.Array, stacks: tuple[jax.Array | Packed, ...], layer: jax.Array, *, axes: int, exact: bool
) -> tuple[Any, ...]:
    how: dict[str, Any] = {"precision": "highest", "preferred_element_type": jnp.float32} if exact else {}
    # Without the barrier XLA (of jax 0.11) multiplies by all of them at once on a GPU, then copies each result out.
    several = jax.lax.optimization_barrier((x,) * len(stacks)) if len(stacks) > 1 else (x,)

    def times(one: jax.Array, stack: jax.Array | Packed) -> jax.Array:
        if isinstance(stack, Packed):
            product = times_packed(one.reshape(*one.shape[:2], -1), stack, (layer,), **how)
            return product.reshape(*product.shape[:2], *_outer(stack, axes))
        return jnp.tensordot(one, jax.lax.dynamic_index_in_dim(stack, layer, keepdims=False), axes, **how)

    return tuple(map(times, several, stacks))
