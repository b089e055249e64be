"""The router's kernel: interpreted on a CPU, compiled on a GPU.

On a GPU: `pytest -m gpu tests/refmodel/kernels/test_choose_experts.py`.
"""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.kernels.target import compiling_for
from refmodel.kernels import choose_experts as module
from refmodel.kernels import choose_experts_pallas as kernel
from refmodel.kernels.choose_experts import choose_experts
from refmodel.kernels.choose_experts_pallas import NAME, choose_experts_pallas
from tests.gpu import TRITON_IS_LEAVING, absent_gpu
from tests.operands import on_device

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

SHAPES = [(37, 128, 8), (19, 13, 3), (3, 5, 5), (16, 31, 1)]
"""Rows, experts, and how many are chosen."""
by_xla = jax.jit(choose_experts, static_argnums=(1, 2))
interpreted = jax.jit(partial(choose_experts_pallas, interpret=True), static_argnames=("k", "renormalise"))


def oracle(logits_re, k: int, renormalise: bool) -> tuple[np.ndarray, np.ndarray]:
    """In float64, but for the order: equal float32 logits go by index."""
    expert_rk = np.argsort(-np.asarray(logits_re), axis=1, kind="stable")[:, :k]
    weight_re = np.exp(np.asarray(logits_re, np.float64))
    weight_rk = np.take_along_axis(weight_re / weight_re.sum(1, keepdims=True), expert_rk, axis=1)
    return weight_rk / weight_rk.sum(1, keepdims=True) if renormalise else weight_rk, expert_rk


def check(found, exact) -> None:
    chex.assert_trees_all_equal(found[1], exact[1].astype(np.int32))
    chex.assert_trees_all_close(found[0], exact[0].astype(np.float32), rtol=1e-6)


def draw(seed: int, rows: int, experts: int, levels: int) -> jax.Array:
    """Few levels make many ties; levels apart by more than rounding make the order certain."""
    return jnp.asarray(np.random.default_rng(seed).integers(-levels, levels, (rows, experts)).astype(np.float32) / 8)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SHAPES), st.sampled_from((1, 3, 40)), st.booleans())
def test_the_interpreted_kernel_is_the_oracle(seed, shape, levels, renormalise):
    rows, experts, k = shape
    logits_re = draw(seed, rows, experts, levels)
    exact = oracle(logits_re, k, renormalise)
    check(interpreted(logits_re, k=k, renormalise=renormalise), exact)
    check(by_xla(logits_re, k, renormalise), exact)


def test_experts_of_no_weight_are_chosen_once_each():
    """Behind an overwhelming one all others underflow to zero, and still no expert comes twice."""
    logits_re = jnp.zeros((2, 13)).at[:, 7].set(1e4)
    weight_rk, expert_rk = interpreted(logits_re, k=3, renormalise=True)
    chex.assert_trees_all_equal(expert_rk, jnp.array([[7, 0, 1]] * 2))
    chex.assert_trees_all_equal(weight_rk, jnp.array([[1.0, 0, 0]] * 2))


def test_logits_that_are_no_numbers_choose_experts_that_exist():
    """A kernel reads weights where it is told to; the row itself stays no number."""
    logits_re = draw(0, 5, 13, 9).at[2].set(jnp.nan)
    weight_rk, expert_rk = interpreted(logits_re, k=3, renormalise=True)
    assert ((expert_rk >= 0) & (expert_rk < 13)).all()
    chex.assert_trees_all_equal(jnp.isnan(weight_rk).all(1), jnp.arange(5) == 2)


@pytest.mark.parametrize(("k", "dtype", "said"), [(14, jnp.float32, "14 of 13"), (3, jnp.bfloat16, "by bfloat16")])
def test_what_it_does_not_take_is_named(k, dtype, said):
    with pytest.raises(ValueError, match=said):
        choose_experts_pallas(jnp.zeros((5, 13), dtype), k=k, renormalise=True, interpret=True)


@pytest.mark.parametrize("renormalise", [True, False])
def test_the_derivative_is_that_of_the_plain_path(renormalise, monkeypatch):
    logits_re = on_device(np.random.default_rng(0).normal(size=(7, 13)))

    def gradient():
        return jax.grad(lambda logits_re: jnp.sin(5 * choose_experts(logits_re, 3, renormalise)[0]).sum())(logits_re)

    plain = gradient()
    monkeypatch.setattr(module, "is_gpu", lambda _: True)
    monkeypatch.setattr(kernel, "choose_experts_pallas", partial(choose_experts_pallas, interpret=True))
    chex.assert_trees_all_close(gradient(), plain, atol=1e-6)


@pytest.mark.parametrize(("target", "runs"), [("sm_90", True), ("gfx1201", True), ("cpu", False)])
def test_the_kernel_runs_on_gpus(target, runs):
    with compiling_for(target):
        jaxpr = jax.make_jaxpr(partial(choose_experts, k=3, renormalise=True))(jnp.zeros((5, 13)))
    assert (f"name={NAME}" in str(jaxpr)) == runs


@pytest.mark.parametrize(("platform", "device"), [("cuda", "NVIDIA H100 80GB HBM3"), ("rocm", "gfx1201")])
def test_lowers_for_an_absent_gpu(platform, device):
    with absent_gpu(device):
        lowered = jax.jit(partial(choose_experts_pallas, k=8, renormalise=True)).trace(jnp.zeros((67, 128)))
        assert lowered.lower(lowering_platforms=(platform,)).as_text().count("xla.gpu.triton") == 1


@pytest.mark.gpu
@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize(("shape", "levels"), [((1, 128, 8), 40), ((4999, 128, 8), 40), ((1511, 61, 7), 3)])
def test_the_compiled_kernel_is_the_oracle(shape, levels, renormalise):
    rows, experts, k = shape
    logits_re = draw(0, rows, experts, levels)
    compiled = jax.jit(partial(choose_experts_pallas, k=k, renormalise=renormalise))
    check(compiled(logits_re), oracle(logits_re, k, renormalise))


@pytest.mark.gpu
def test_compiled_logits_that_are_no_numbers_choose_experts_that_exist():
    logits_re = draw(0, 61, 128, 9).at[::2].set(jnp.nan)
    weight_rk, expert_rk = jax.jit(partial(choose_experts_pallas, k=8, renormalise=True))(logits_re)
    assert ((expert_rk >= 0) & (expert_rk < 128)).all()
    chex.assert_trees_all_equal(jnp.isnan(weight_rk).all(1), jnp.arange(61) % 2 == 0)
