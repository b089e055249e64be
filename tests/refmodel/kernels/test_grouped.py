"""The experts' feed-forward against the plainest sum over every row and choice."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.kernels.row_tiles import tile_rows
from refmodel.gating import gated
from refmodel.kernels.grouped import expert_ffn
from refmodel.parts import ClampedSwish
from tests.compiling import AS_USERS_DO
from tests.operands import on_device

pytestmark = pytest.mark.usefixtures("fast_compile")

LAYERS, EXPERTS, WIDTH, HIDDEN = 2, 7, 11, 5


def swiglu(gate, up):
    return gate / (1 + np.exp(-gate)) * up


def clamped(gate, up):
    gate = np.minimum(gate, 7)
    return (np.clip(up, -7, 7) + 1) * gate / (1 + np.exp(-1.702 * gate))


def oracle(x, expert_rk, weight_rk, gate, up, down, biases=((0,) * EXPERTS,) * 3, gated=swiglu):
    """A loop over rows and choices in float64."""
    x, gate, up, down = (np.asarray(a, np.float64) for a in (x, gate, up, down))
    out = np.zeros_like(x)
    for row, choice in np.ndindex(expert_rk.shape):
        e = expert_rk[row, choice]
        gate_bias, up_bias, down_bias = (bias[e] for bias in biases)
        left = gated(x[row] @ gate[e] + gate_bias, x[row] @ up[e] + up_bias)
        out[row] += weight_rk[row, choice] * (left @ down[e] + down_bias)
    return out


def problem(rows: int, choices: int, seed: int, favourite: bool):
    rng = np.random.default_rng(seed)
    expert_rk = np.stack([rng.permutation(EXPERTS)[:choices] for _ in range(rows)])
    if favourite:
        expert_rk[:, 0] = 3  # one expert takes a row of every token, others may get none
    weights = (rng.normal(size=(LAYERS, EXPERTS, *shape)) for shape in ((WIDTH, HIDDEN),) * 2 + ((HIDDEN, WIDTH),))
    return rng.normal(size=(rows, WIDTH)), expert_rk, rng.random((rows, choices)), *weights


@given(
    st.sampled_from((1, 2, 17, 43)), st.sampled_from((1, 3)), st.integers(0, 2**32 - 1), st.booleans(),
    st.sampled_from((None, 1, 4, 16)),
)  # fmt: skip
def test_expert_ffn_is_the_sum_over_choices(rows, choices, seed, favourite, row_tile):
    x, expert_rk, weight_rk, *weights = problem(rows, choices, seed, favourite)
    floats = [on_device(a) for a in (x, weight_rk, *weights)]
    run = jax.jit(expert_ffn, static_argnames="row_tile")
    out = run(floats[0], jnp.asarray(expert_rk), *floats[1:], jnp.int32(1), row_tile=row_tile)
    expected = oracle(x, expert_rk, weight_rk, *(stack[1] for stack in weights))
    chex.assert_trees_all_close(out, expected.astype(np.float32), atol=2e-5, rtol=2e-5)


def test_gelu_is_the_one_made_of_tanh():
    gate, up = np.linspace(-5, 5, 101), np.linspace(2, 3, 101)
    expected = gate / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (gate + 0.044715 * gate**3))) * up
    np.testing.assert_allclose(gated(on_device(gate), on_device(up), "gelu_tanh"), expected, atol=2e-6)


with_biases = jax.jit(expert_ffn, static_argnames="activation")


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_biases_and_a_clamped_gate(seed):
    """gpt-oss's experts (2508.10925), their clamps met from all sides."""
    x, expert_rk, weight_rk, *weights = problem(23, 3, seed, favourite=False)
    x, rng = 5 * x, np.random.default_rng(seed)
    biases = [rng.normal(size=(LAYERS, EXPERTS, side)) for side in (HIDDEN, HIDDEN, WIDTH)]
    floats = [on_device(a) for a in (x, weight_rk, *weights)]
    stacks = [jnp.asarray(bias, jnp.float32) for bias in biases]
    found = with_biases(
        floats[0], jnp.asarray(expert_rk), *floats[1:], jnp.int32(1), tuple(stacks), activation=ClampedSwish()
    )
    expected = oracle(x, expert_rk, weight_rk, *(w[1] for w in weights), [bias[1] for bias in biases], clamped)
    chex.assert_trees_all_close(found, expected.astype(np.float32), atol=2e-4, rtol=2e-5)


@given(st.lists(st.integers(0, EXPERTS - 1), min_size=1, max_size=61), st.sampled_from((1, 2, 8)))
def test_every_row_has_one_place_in_a_tile_of_its_expert(experts, row_tile):
    tiles = jax.jit(tile_rows, static_argnums=(1, 2))(jnp.asarray(experts), EXPERTS, row_tile)
    row_it = np.asarray(tiles.row_it)
    np.testing.assert_array_equal(np.sort(row_it[row_it >= 0]), np.arange(len(experts)))
    np.testing.assert_array_equal(row_it.ravel()[np.asarray(tiles.place_r)], np.arange(len(experts)))
    used = int(tiles.n_used)
    assert (row_it[:used] >= 0).any(1).all() and (row_it[used:] < 0).all()
    for expert, rows in zip(np.asarray(tiles.group_i), row_it, strict=True):
        assert all(experts[row] == expert for row in rows[rows >= 0])


def test_no_product_over_all_experts():
    """The compiled program holds no activation per expert and row: 128 experts cost what 8 choices cost."""
    rows, experts, width, hidden = 512, 128, 64, 32
    shapes = [(rows, width), (rows, 8), (rows, 8), *((1, experts, width, hidden),) * 2, (1, experts, hidden, width), ()]
    dtypes = [jnp.float32, jnp.int32, *(jnp.float32,) * 4, jnp.int32]
    arguments = [jax.ShapeDtypeStruct(*pair) for pair in zip(shapes, dtypes, strict=True)]
    plan = jax.jit(expert_ffn).lower(*arguments).compile(AS_USERS_DO).memory_analysis()
    assert plan.temp_size_in_bytes < rows * experts * width * 4
