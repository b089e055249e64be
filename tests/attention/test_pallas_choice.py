"""The kernel that chooses blocks against a stable sort of gates in float64; interpreted on a CPU.

On a GPU: `pytest -m gpu tests/attention/test_pallas_choice.py`.
"""

from __future__ import annotations

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.kernels.pallas_choice import (
    MOST_BLOCKS,
    MOST_CHOICES,
    NAME,
    PARTS,
    _parts,
    choice_cannot,
    choose_blocks_pallas,
)
from eval.cost.flops.traced import count_flops
from tests.gpu import TRITON_IS_LEAVING, absent_gpu
from tests.operands import on_device

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

SHAPES = st.sampled_from(
    # (B, T, K, G, H, blocks)
    ((2, 37, 2, 3, 16, 11), (1, 53, 1, 5, 64, 61), (1, 29, 2, 1, 32, 3), (2, 7, 3, 2, 16, 131))
)
run = partial(jax.jit, static_argnums=3, static_argnames="interpret")(choose_blocks_pallas)


def draw(shape, seed: int):
    b, t, k, g, h, blocks = shape
    rng = np.random.default_rng(seed)
    own = rng.integers(-1, blocks + 1, (b, t))  # -1: a query that is padding
    q, mean = rng.normal(size=(b, t, k * g, h)), rng.normal(size=(b, k, blocks, h))
    return jnp.asarray(q, jnp.bfloat16), jnp.asarray(mean, jnp.float32), jnp.asarray(own, jnp.int32)


def sorted_gates(q, mean, own, choices: int) -> tuple[np.ndarray, np.ndarray]:
    """[choices, B, T, N]: whose they are, -1 for none, and the gates."""
    (b, t, n, h), k = q.shape, mean.shape[1]
    gate = np.einsum("btkgh,bkch->btkgc", np.float64(q).reshape(b, t, k, n // k, h), np.float64(mean))
    gate = np.where(np.arange(mean.shape[2]) < np.asarray(own)[..., None, None, None], gate, -np.inf).reshape(
        b, t, n, -1
    )
    block = np.argsort(-gate, axis=-1, kind="stable")[..., :choices]
    gate = np.take_along_axis(gate, block, axis=-1)
    return tuple(np.moveaxis(x, -1, 0) for x in (np.where(gate == -np.inf, -1, block), gate))


@settings(max_examples=8)
@given(SHAPES, st.integers(1, 3), st.integers(0, 99))
def test_interpreted_kernel_is_a_stable_sort(shape, choices, seed):
    q, mean, own = draw(shape, seed)
    found = run(q, mean, own, choices, interpret=True)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, sorted_gates(q, mean, own, choices)[0])


def test_of_equal_gates_the_earlier_block_wins():
    q, mean, own = jnp.ones((1, 5, 2, 16), jnp.bfloat16), jnp.ones((1, 1, 7, 16)), jnp.arange(5)[None]
    found = run(q, mean, own, 3, interpret=True)
    expected = [[-1, -1, -1], [0, -1, -1], [0, 1, -1], [0, 1, 2], [0, 1, 2]]
    np.testing.assert_array_equal(found[:, 0], np.repeat(np.transpose(expected)[..., None], 2, axis=2))


def test_three_short_numbers_are_a_float32():
    """Else gates would be those of rounded means; the scales are those of trained keys and beyond."""
    rng = np.random.default_rng(0)
    x = on_device(rng.normal(size=(2, 1, 101, 16)) * 2.0 ** rng.integers(-40, 40, (2, 1, 101, 1)))
    parts = jax.jit(_parts)(x)
    assert parts.dtype == jnp.bfloat16 and parts.shape == (PARTS, *x.shape)
    np.testing.assert_array_equal(np.float64(parts).sum(0), np.float64(x))


def test_declared_flops_are_those_of_the_tiles():
    q, mean, own = draw((2, 37, 2, 3, 16, 11), 0)
    counted = count_flops(partial(choose_blocks_pallas, choices=2), q, mean, own)
    assert counted.total == 2 * 2 * 128 * 16 * 16 * 2 * PARTS  # 111 rows in one tile, 11 blocks as 16


@pytest.mark.parametrize(("q", "blocks", "choices", "target", "message"), [
    (((16,), jnp.bfloat16), 3, 1, "cpu", "the kernel runs on GPUs, this is cpu"),
    (((16,), jnp.float32), 3, 1, "sm_90", "the kernel takes bfloat16 heads of 16, .* got float32 of 16"),
    (((48,), jnp.bfloat16), 3, 1, "sm_90", "got bfloat16 of 48"),
    (((16,), jnp.bfloat16), MOST_BLOCKS + 1, 1, "sm_90", "up to 16 of 512 blocks, got 1 of 513"),
    (((16,), jnp.bfloat16), 99, MOST_CHOICES + 1, "gfx1201", "got 17 of 99"),
])  # fmt: skip
def test_what_it_is_not_made_for_is_named(q, blocks, choices, target, message):
    q = jnp.zeros((1, 5, 2, *q[0]), q[1])
    assert re.search(message, choice_cannot(q, blocks, choices, target))
    if target != "cpu":
        with pytest.raises(ValueError, match=message):
            choose_blocks_pallas(q, jnp.zeros((1, 1, blocks, q.shape[-1])), jnp.zeros((1, 5), int), choices)


@pytest.mark.parametrize(("platform", "device"), [("cuda", "NVIDIA H100 80GB HBM3"), ("rocm", "gfx1201")])
@pytest.mark.parametrize("blocks", [11, 300])
def test_lowers_for_an_absent_gpu(platform, device, blocks):
    shapes = ((1, 256, 8, 128), jnp.bfloat16), ((1, 2, blocks, 128), jnp.float32), ((1, 256), jnp.int32)
    with absent_gpu(device):
        traced = jax.jit(partial(choose_blocks_pallas, choices=2)).trace(*(jax.ShapeDtypeStruct(*x) for x in shapes))
        lowered = traced.lower(lowering_platforms=(platform,)).as_text()
    assert NAME in lowered and "triton" in lowered


@pytest.mark.gpu
@pytest.mark.parametrize("blocks", [7, 128, 401])
@pytest.mark.parametrize("head_dim", [64, 128, 256])
def test_compiled_kernel_chooses_the_greatest(blocks, head_dim):
    """Its gates are sums in another order: what it chose instead of the greatest is as great, to float32's rounding."""
    q, mean, own = draw((2, 1031, 2, 4, head_dim, blocks), 0)
    found = np.asarray(run(q, mean, own, 3))
    every, gate = sorted_gates(q, mean, own, blocks)
    np.testing.assert_array_equal(found < 0, every[:3] < 0)
    rank, gate = (every[None] == found[:, None]).argmax(1), np.where(every < 0, 0, gate)
    off = np.abs(np.take_along_axis(gate, rank, axis=0) - gate[:3])[found >= 0]
    assert (found != every[:3]).mean() < 1e-4 and off.max() < 1e-5 * head_dim**0.5
