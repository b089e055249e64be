"""Tests of the derivative that a kernel borrows."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import pytest

from refmodel.kernels.derivative import with_derivative_of


def plain(x, place, scale):
    return x[place] * scale, place + 1


def test_the_value_is_the_kernels_and_the_derivative_the_plain_functions():
    def kernel(x, place, scale):
        return x[place] * scale + 1000, place + 1

    operands = jnp.arange(5.0), jnp.array([3, 1, 3]), jnp.array([2.0, 3.0, 5.0])
    value, pull = jax.vjp(with_derivative_of(plain, kernel), *operands)
    chex.assert_trees_all_equal(value, kernel(*operands))
    to_x, to_place, to_scale = pull((jnp.ones(3), jnp.zeros(3, jax.dtypes.float0)))
    chex.assert_trees_all_close((to_x, to_scale), (jnp.array([0.0, 3, 0, 7, 0]), jnp.array([3.0, 1, 3])))
    assert to_place.dtype == jax.dtypes.float0


def test_a_kernel_alone_would_have_none():
    def kernel(x):
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct((), jnp.float32), x)

    with pytest.raises(ValueError, match="JVP"):
        jax.grad(kernel)(1.0)
    assert jax.grad(with_derivative_of(jnp.sin, kernel))(0.0) == 1
