"""The kernel that norms and rotates heads: interpreted on a CPU, compiled on a GPU.

On a GPU: `pytest -m gpu tests/refmodel/kernels/test_norm_rope.py`.
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
from refmodel.kernels import norm_rope, norm_rope_pallas
from refmodel.kernels.norm_rope import norm_and_rope
from refmodel.kernels.norm_rope_pallas import NAME, norm_and_rope_pallas
from refmodel.parts import Norm, Rope
from refmodel.rope import rope_angles
from tests.gpu import TRITON_IS_LEAVING, absent_gpu, close
from tests.operands import on_device

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

EPS, ROPE = 1e-3, Rope(1e4)
NORM = Norm(EPS)
SHAPES = [(1, 1, 1, 32), (2, 7, 5, 32), (3, 23, 2, 64)]
"""[B, T, N, H]: less than a program takes, and more, and no multiple of it."""
interpreted = jax.jit(partial(norm_and_rope_pallas, eps=EPS, interpret=True))
by_xla = jax.jit(partial(norm_and_rope, norm=NORM))
jitted_angles = jax.jit(rope_angles, static_argnums=(1, 2))


def draw(seed: int, shape: tuple[int, ...], rows_of_positions: int = 1, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    positions_bt = jnp.asarray(rng.integers(0, 9999, (rows_of_positions, shape[1]), np.int32))
    x_btnh, scale_h = (on_device(rng.normal(size=size), dtype) for size in (shape, shape[-1:]))
    return x_btnh, scale_h, jitted_angles(positions_bt, shape[-1], ROPE)


def oracle(x_btnh, scale_h, angles) -> np.ndarray:
    """Each pair (i, i + H/2) as a complex number, turned, in float64."""
    x, scale, cos, sin = (np.asarray(a, np.float64) for a in (x_btnh, scale_h, *angles))
    normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * scale
    half = x.shape[-1] // 2
    turned = (normed[..., :half] + 1j * normed[..., half:]) * (cos + 1j * sin)
    return np.concatenate([turned.real, turned.imag], axis=-1)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SHAPES), st.booleans())
def test_the_interpreted_kernel_is_the_oracle(seed, shape, own_positions):
    """What an interpreted kernel does not write is NaN, so that every element is seen to be written."""
    operands = draw(seed, shape, shape[0] if own_positions else 1)
    exact = oracle(*operands)
    assert close(interpreted(*operands), exact, 1e-6)
    assert close(by_xla(*operands), exact, 1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats_are_rounded_once(dtype):
    operands = draw(0, (1, 61, 3, 32), dtype=dtype)
    out = interpreted(*operands)
    exact = oracle(*operands)
    assert out.dtype == dtype
    np.testing.assert_allclose(np.asarray(out, np.float64), exact, rtol=0.51 * jnp.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_derivative_is_that_of_the_plain_path(dtype, monkeypatch):
    """Also where the scale is of a longer type than the heads."""
    x_btnh, scale_h, angles = draw(0, (1, 7, 3, 32))
    x_btnh = x_btnh.astype(dtype)

    def gradients():
        def loss(x_btnh, scale_h):
            out_btnh = norm_and_rope(x_btnh, scale_h, angles, NORM)
            assert out_btnh.dtype == dtype
            return (out_btnh.astype(jnp.float32) * jnp.arange(out_btnh.size).reshape(out_btnh.shape)).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1)))(x_btnh, scale_h)

    plain = gradients()
    monkeypatch.setattr(norm_rope, "is_gpu", lambda _: True)
    monkeypatch.setattr(norm_rope_pallas, "norm_and_rope_pallas", partial(norm_and_rope_pallas, interpret=True))
    chex.assert_trees_all_equal(gradients(), plain)  # the same function of the same operands


@pytest.mark.parametrize(
    ("target", "size", "runs"), [("sm_90", 128, True), ("gfx1201", 64, True), ("sm_90", 48, False), ("cpu", 64, False)]
)
def test_the_kernel_runs_on_gpus_for_heads_of_a_power_of_two(target, size, runs):
    operands = draw(0, (1, 3, 2, size))
    with compiling_for(target):
        assert (f"name={NAME}" in str(jax.make_jaxpr(partial(norm_and_rope, norm=NORM))(*operands))) == runs


@pytest.mark.parametrize(("platform", "device"), [("cuda", "NVIDIA H100 80GB HBM3"), ("rocm", "gfx1201")])
def test_lowers_for_an_absent_gpu(platform, device):
    operands = draw(0, (1, 67, 32, 128), dtype=jnp.bfloat16)
    with absent_gpu(device):
        lowered = jax.jit(partial(norm_and_rope_pallas, eps=EPS)).trace(*operands)
        assert lowered.lower(lowering_platforms=(platform,)).as_text().count("xla.gpu.triton") == 1


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 4e-3)])
@pytest.mark.parametrize("shape", [(1, 1, 32, 128), (3, 1511, 4, 128), (2, 997, 9, 64)])
def test_the_compiled_kernel_is_the_oracle(shape, dtype, tolerance):
    operands = draw(0, shape, shape[0], dtype)
    assert close(jax.jit(partial(norm_and_rope_pallas, eps=EPS))(*operands), oracle(*operands), tolerance)
