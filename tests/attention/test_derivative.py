"""Tests of the derivative that a kernel borrows."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp

from attention.kernels.derivative import with_derivative_of


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


def test_it_holds_under_loops_checkpoints_and_batches():
    """As the model uses it: a scan over layers, whose body may be computed again on the way back."""
    call = with_derivative_of(plain, plain)

    def loss(function, x, scale):
        def layer(carry, place):
            out, _ = function(carry, place, scale)
            return jnp.sin(out), None

        return jax.lax.scan(jax.checkpoint(layer), x, jnp.array([[2, 0, 1], [1, 1, 0]]))[0].sum()

    operands = jnp.arange(3.0), jnp.array([2.0, 3.0, 5.0])
    of_call, of_plain = (jax.jit(jax.grad(partial(loss, function), argnums=(0, 1))) for function in (call, plain))
    chex.assert_trees_all_close(of_call(*operands), of_plain(*operands))
    batch = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), operands)
    chex.assert_trees_all_close(jax.vmap(of_call)(*batch), jax.vmap(of_plain)(*batch))
