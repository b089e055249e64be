"""Gradients of the experts' feed-forward are those of all experts at once, of which a row's choices are weighted."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.gating import gated
from refmodel.kernels.grouped import expert_ffn
from tests.operands import on_device

pytestmark = pytest.mark.usefixtures("fast_compile")

LAYERS, EXPERTS, ROWS, CHOICES, D, F = 3, 5, 41, 2, 7, 11
LAYER = jnp.int32(1)


def every_expert(x_rd, expert_rk, weight_rk, gate_ledf, up_ledf, down_lefd, biases):
    """Every row through every expert of the layer."""
    gate, up, down, gate_ef, up_ef, down_ed = (stack[1] for stack in (gate_ledf, up_ledf, down_lefd, *biases))
    left_ref = gated(
        jnp.einsum("rd,edf->ref", x_rd, gate) + gate_ef, jnp.einsum("rd,edf->ref", x_rd, up) + up_ef, "silu"
    )
    out_red = jnp.einsum("ref,efd->red", left_ref, down) + down_ed
    weight_re = (weight_rk[..., None] * (expert_rk[..., None] == jnp.arange(EXPERTS))).sum(1)
    return jnp.einsum("re,red->rd", weight_re, out_red)


def test_gradients_are_those_of_every_expert():
    """Split unevenly over tiles of 4 rows, an expert without any; of a layer in the middle, others get zeros."""
    rng = np.random.default_rng(0)
    shapes = [(LAYERS, EXPERTS, *rest) for rest in ((D, F), (D, F), (F, D), (F,), (F,), (D,))]
    gate, up, down, *biases = (on_device(0.3 * rng.normal(size=shape)) for shape in shapes)
    x_rd, weight_rk = (on_device(rng.normal(size=shape)) for shape in ((ROWS, D), (ROWS, CHOICES)))
    first_r = rng.choice([0, 0, 0, 2], ROWS)
    expert_rk = on_device(np.stack([first_r, np.where(rng.random(ROWS) < 0.2, 4, 3)], axis=1), np.int32)

    def of_tiles(x_rd, weight_rk, gate, up, down, biases):
        return expert_ffn(x_rd, expert_rk, weight_rk, gate, up, down, LAYER, biases, row_tile=4, impl="blockwise")

    def of_all(x_rd, weight_rk, gate, up, down, biases):
        return every_expert(x_rd, expert_rk, weight_rk, gate, up, down, biases)

    def gradients(ffn):
        loss = jax.jit(jax.grad(lambda *operands: jnp.sin(ffn(*operands)).sum(), argnums=tuple(range(6))))
        return loss(x_rd, weight_rk, gate, up, down, tuple(biases))

    found = gradients(of_tiles)
    chex.assert_trees_all_close(found, gradients(of_all), atol=1e-4, rtol=1e-4)
    assert not found[2][1, 1].any() and found[2][1, 4].any()
