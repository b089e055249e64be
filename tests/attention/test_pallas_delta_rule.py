"""The kernels of the gated delta rule against its definition: interpreted on a CPU, compiled on a GPU."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attention.kernels.choose_delta_rule import executed_flops, run_delta_rule
from attention.kernels.delta_rule import gated_delta_rule
from attention.kernels.delta_rule_tiles import DELTA_RULE, DeltaRuleTiles, delta_rule_tiles
from attention.kernels.pallas_delta_rule import gated_delta_rule_pallas
from attention.kernels.pallas_inverse import inverses
from attention.kernels.target import compiling_for
from eval.cost.flops.traced import count_flops
from tests.attention.test_delta_rule import drawn, reference
from tests.gpu import TRITON_IS_LEAVING, close

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

HEADS = ((1, 1, 16, 32), (3, 3, 32, 16), (2, 6, 32, 32))  # N, M, H, Hv
SMALL = DeltaRuleTiles(values=16, out_values=16, depth=16, warps=4, stages=1, inverse_warps=4)
WHOLE = DeltaRuleTiles(values=32, out_values=32, depth=32, warps=4, stages=1, inverse_warps=4)
interpreted = jax.jit(partial(gated_delta_rule_pallas, interpret=True), static_argnames="tiles")


@settings(max_examples=8)
@given(
    st.sampled_from(HEADS), st.sampled_from((5, 61, 64, 131)), st.sampled_from(("near 1", "usual")),
    st.sampled_from((SMALL, WHOLE)), st.integers(0, 99),
)  # fmt: skip
@example(HEADS[2], 131, "usual", SMALL, 0)
def test_interpreted_kernels_are_the_definition(heads, tokens, decay, tiles, seed):
    """Any part of the columns in a program, and keys multiplied in one step or in several."""
    operands = drawn(heads, tokens, decay, seed)
    expected = tuple(x.astype(np.float32) for x in reference(*operands))
    chex.assert_trees_all_close(interpreted(*operands, tiles=tiles), expected, atol=2e-5)


def test_strong_decays_forget_and_make_no_infinity():
    """Sums of a chunk down to -5,760, of which differences are precise to 3e-4."""
    operands = drawn(HEADS[2], 131, "mixed", 1)
    expected = tuple(x.astype(np.float32) for x in reference(*operands))
    chex.assert_trees_all_close(interpreted(*operands, tiles=SMALL), expected, atol=1e-3)


@pytest.mark.parametrize("size", [2, 16, 64])
def test_inverses_by_halves_of_numbers_are_precise(size):
    """Three products of bfloat16 for one of float32; what lies on the diagonal or above is not read."""
    rng = np.random.default_rng(size)
    below = [rng.uniform(-1, 1, (size, size)) / 2 for _ in range(2)]
    expected = [np.linalg.inv(np.eye(size) + np.tril(a, -1)) for a in below]
    for exact, relative in ((True, 1e-6), (False, 5e-5)):
        found = jax.jit(partial(inverses, exact=exact))(tuple(jnp.float32(a) for a in below))
        assert all(close(x, y, relative) for x, y in zip(found, expected, strict=True))


def test_what_is_counted_on_a_gpu_is_what_the_kernels_say():
    n, m, h, hv = HEADS[2]
    shapes = [(5, 131, n, h)] * 2 + [(5, 131, m, hv), (5, 131, m), (5, 131, m), (5, m, h, hv)]
    types = [jnp.bfloat16] * 3 + [jnp.float32] * 3
    with compiling_for("gfx1201"):
        traced = count_flops(run_delta_rule, *map(jax.ShapeDtypeStruct, shapes, types))
        assert traced.total == 5 * executed_flops(131, n, m, h, hv)
    assert traced.total != 5 * executed_flops(131, n, m, h, hv)  # here it is plain XLA


@pytest.mark.parametrize(
    ("tokens", "key_dim", "value_dim", "by_kernels"),
    [
        (5, 16, 32, True),
        (4, 16, 32, False),
        (5, 24, 32, False),
        (5, 32, 48, False),
        (5, 8, 16, False),
        (5, 16, 8, False),
    ],
)
def test_which_steps_run_the_kernels(tokens, key_dim, value_dim, by_kernels):
    """More tokens than go one by one, heads of powers of two from 16 on."""
    shapes = [(1, tokens, 2, key_dim)] * 2 + [(1, tokens, 6, value_dim), (1, tokens, 6), (1, tokens, 6)]
    types = [jnp.bfloat16] * 3 + [jnp.float32] * 3
    with compiling_for("gfx1201"):
        traced = count_flops(run_delta_rule, *map(jax.ShapeDtypeStruct, [*shapes, (1, 6, key_dim, value_dim)], types))
    assert bool(traced.kernels) == by_kernels


def test_tiles_are_those_of_a_target_and_the_size_of_its_numbers():
    for (target, size), tiles in DELTA_RULE.items():
        for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
            assert (delta_rule_tiles(target, dtype) == tiles) == (size == jnp.dtype(dtype).itemsize)
    assert delta_rule_tiles("gfx942", jnp.bfloat16) == delta_rule_tiles("sm_90", jnp.float32)


@pytest.mark.gpu
@pytest.mark.parametrize("tokens", [5, 64, 2_111])
@pytest.mark.parametrize("heads", [(2, 4, 128, 128), (3, 3, 64, 64), (1, 3, 32, 16)])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_compiled_kernels_are_the_definition(heads, tokens, dtype):
    q, k, v, *rest = drawn(heads, tokens, "usual", 0)
    operands = (*(jnp.asarray(x, dtype) for x in (q, k, v)), *rest)
    expected = reference(*(np.asarray(x, np.float64) for x in operands))
    found, again = (jax.jit(run_delta_rule)(*operands) for _ in range(2))
    assert all(close(x, y, 1e-2 if dtype == jnp.bfloat16 else 1e-4) for x, y in zip(found, expected, strict=True))
    chex.assert_trees_all_equal(found, again)


@pytest.mark.gpu
def test_gradients_are_those_of_plain_xla():
    q, k, v, *rest = drawn((2, 4, 32, 32), 131, "usual", 0)

    def loss(rule, *operands):
        out, state = rule(*operands)
        return jnp.sin(out).sum() + jnp.sin(state).sum()

    found, wanted = (
        jax.jit(jax.grad(partial(loss, rule), argnums=range(6)))(q, k, v, *rest)
        for rule in (run_delta_rule, gated_delta_rule)
    )
    chex.assert_trees_all_close(found, wanted, rtol=1e-3, atol=1e-3)
