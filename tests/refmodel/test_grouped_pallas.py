"""The grouped-matmul kernels against plain sums: interpreted on a CPU, compiled on a GPU.

On a GPU: `pytest -m gpu tests/refmodel/test_grouped_pallas.py`.
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

from attention.kernels.matmul_tiles import MATMUL, MatmulTiles, matmul_tiles
from attention.kernels.row_tiles import tile_rows
from eval.cost.flops.traced import count_flops
from refmodel.gating import gated
from refmodel.kernels.grouped import expert_ffn, resolve_impl
from refmodel.kernels.grouped_matmul import grouped_matmul
from refmodel.kernels.grouped_pallas import expert_ffn_pallas
from refmodel.parts import ClampedSwish
from tests.gpu import TRITON_IS_LEAVING, absent_gpu, close
from tests.operands import on_device

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

SMALL = MatmulTiles(16, 4, 32, 16, 4, 1)
LAYERS, EXPERTS, WIDTH, HIDDEN, LAYER = 2, 7, 48, 32, 1


def draw_operands(tokens: int, choices: int, seed: int, spread: float, dtype=jnp.float32, sizes=None):
    """Router-like: each expert as popular as exp(spread · normal), so that a large spread leaves some empty."""
    layers, experts, width, hidden = sizes or (LAYERS, EXPERTS, WIDTH, HIDDEN)
    rng = np.random.default_rng(seed)
    logits = rng.gumbel(size=(tokens, experts)) + spread * rng.normal(size=experts)
    shapes = (width, hidden), (width, hidden), (hidden, width)
    x, *stacks = (rng.normal(size=s) for s in ((tokens, width), *((layers, experts, *pair) for pair in shapes)))
    stacks = (jnp.asarray(stack / stack.shape[-2] ** 0.5, dtype) for stack in stacks)
    experts_tk = jnp.asarray(np.argsort(-logits, axis=1)[:, :choices], jnp.int32)
    return jnp.asarray(x, dtype), experts_tk, on_device(rng.random((tokens, choices))), *stacks


def draw_biases(seed: int, dtype=jnp.float32, sizes=None):
    """Of gates, ups and downs, of order one."""
    layers, experts, width, hidden = sizes or (LAYERS, EXPERTS, WIDTH, HIDDEN)
    rng = np.random.default_rng(seed)
    return tuple(on_device(rng.normal(size=(layers, experts, side)), dtype) for side in (hidden, hidden, width))


def oracle(x_td, expert_tk, weight_tk, gate_ledf, up_ledf, down_lefd, layer, biases=(), activation="silu"):
    """One expert at a time over all tokens, in float32."""
    none = jnp.zeros((*gate_ledf.shape[:2], 1))
    stacks = gate_ledf, up_ledf, down_lefd, *(biases or (none, none, none))
    x, *stacks = (a.astype(jnp.float32) for a in (x_td, *(stack[layer] for stack in stacks)))
    dot = partial(jnp.matmul, precision="highest")
    out = jnp.zeros_like(x)
    for expert in range(gate_ledf.shape[1]):
        gate, up, down, gate_bias, up_bias, down_bias = (stack[expert] for stack in stacks)
        weight_t = jnp.where(expert_tk == expert, weight_tk, 0).sum(1)
        left = gated(dot(x, gate) + gate_bias, dot(x, up) + up_bias, activation)
        out += weight_t[:, None] * (dot(left, down) + down_bias)
    return out


@partial(jax.jit, static_argnames=("tiles", "interpret", "activation"))
def run(*operands, tiles, interpret, activation="silu"):
    return expert_ffn_pallas(*operands, tiles=tiles, interpret=interpret, activation=activation)


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.sampled_from((0.0, 1.0, 9.0)))
def test_interpreted_kernels_are_the_oracle(seed, spread):
    """Unwritten outputs of an interpreted kernel are NaN, so that every element is seen to be written."""
    operands = *draw_operands(37, 3, seed, spread), jnp.int32(LAYER)
    assert close(run(*operands, tiles=SMALL, interpret=True), oracle(*operands), 1e-5)


def test_columns_that_no_block_divides_are_computed_and_counted_twice():
    """A width of 144 in blocks of 32: five of them, of which the last begins at 112."""
    sizes = LAYERS, 3, 144, 48
    operands = *draw_operands(29, 2, 0, 1.0, sizes=sizes), jnp.int32(LAYER)
    run_tiles = partial(run, tiles=SMALL, interpret=True)
    assert close(run_tiles(*operands), oracle(*operands), 1e-5)
    padded_rows = tile_rows(operands[1].reshape(-1), 3, SMALL.rows).group_i.size * SMALL.rows
    _, counted = count_flops(run_tiles, *operands).kernels["grouped_matmul"]
    assert counted == 2 * padded_rows * (2 * 144 * 48 + 48 * 5 * 32)


@pytest.mark.parametrize(("tokens", "choices", "spread"), [(1, 3, 0.0), (3, 1, 0.0), (3, 1, 9.0)])
def test_few_rows_each_read_their_expert_unsorted(tokens, choices, spread):
    """An expert that several rows have is read for each of them."""
    operands = *draw_operands(tokens, choices, 0, spread), jnp.int32(LAYER)
    assert spread == 0 or len(np.unique(operands[1])) < tokens
    assert close(run(*operands, tiles=SMALL, interpret=True), oracle(*operands), 1e-5)


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh", ClampedSwish(1.3, 0.7)])
@pytest.mark.parametrize(("tokens", "choices"), [(37, 3), (1, 3)])
def test_biases_and_every_activation_are_fused(tokens, choices, activation):
    """A clamp that both sides of the gate and of what it gates meet."""
    operands = *draw_operands(tokens, choices, 0, 1.0), jnp.int32(LAYER), draw_biases(1)
    assert close(
        run(*operands, tiles=SMALL, interpret=True, activation=activation), oracle(*operands, activation), 1e-5
    )


@pytest.mark.parametrize("most_tokens", [11, 19, 36])
def test_lots_of_a_long_prompt_are_the_whole(most_tokens):
    operands = *draw_operands(37, 3, 0, 1.0), jnp.int32(LAYER), draw_biases(1)
    in_lots = jax.jit(partial(expert_ffn_pallas, tiles=SMALL, interpret=True, most_tokens=most_tokens))
    chex.assert_trees_all_close(in_lots(*operands), run(*operands, tiles=SMALL, interpret=True), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats_are_accumulated_in_float32(dtype):
    operands = *draw_operands(23, 2, 0, 1.0, dtype), jnp.int32(LAYER)
    out = run(*operands, tiles=SMALL, interpret=True)
    assert out.dtype == dtype
    assert close(out, oracle(*operands), 1e-2)


def test_one_weight_multiplies_each_row_where_it_stands():
    x, expert_tk, _, gate, *_ = draw_operands(61, 1, 0, 1.0)
    expert_r = expert_tk[:, 0]
    table = tile_rows(expert_r, EXPERTS, SMALL.rows)
    out = jax.jit(partial(grouped_matmul, tiles=SMALL, interpret=True))(x, (gate,), layer=jnp.int32(LAYER), table=table)
    assert close(out, jnp.einsum("rd,rdf->rf", x, gate[LAYER][expert_r], precision="highest"), 1e-5)


def test_gradients_are_those_of_the_plain_path(monkeypatch):
    """The kernel's derivative is the plain path's at the same point, whatever computed the value."""
    monkeypatch.setattr("refmodel.kernels.grouped_pallas.expert_ffn_pallas", partial(run, tiles=SMALL, interpret=True))
    x, expert_tk, *floats = draw_operands(19, 2, 0, 1.0)

    def gradients(impl):
        def loss(x, biases, *floats):
            y = expert_ffn(x, expert_tk, *floats, jnp.int32(LAYER), biases, impl=impl, activation=ClampedSwish())
            return jnp.sin(y).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3, 4, 5)))(x, draw_biases(1), *floats)

    chex.assert_trees_all_close(gradients("pallas"), gradients("blockwise"), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("platform", "target", "device"), [
    ("cuda", "sm_90", "NVIDIA H100 80GB HBM3"), ("rocm", "gfx1201", "gfx1201"),
])  # fmt: skip
@pytest.mark.parametrize("tokens", [64, 2048])
def test_lowers_for_an_absent_gpu(platform, target, device, tokens):
    """Weights beyond 2**32 bytes, which need offsets of 64 bits."""
    layers, experts, width, hidden, choices = 48, 128, 2048, 768, 8
    many = tokens * choices >= 128 * experts
    tiles = MATMUL[target, 2, many, True]
    assert tiles is matmul_tiles(target, jnp.bfloat16, tokens * choices, experts, width)
    assert tiles.rows == MATMUL[target, 2, many, False].rows
    shapes = (
        ((tokens, width), jnp.bfloat16), ((tokens, choices), jnp.int32), ((tokens, choices), jnp.float32),
        *(((layers, experts, *pair), jnp.bfloat16) for pair in ((width, hidden), (width, hidden), (hidden, width))),
        ((), jnp.int32),
    )  # fmt: skip
    operands = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    with absent_gpu(device):
        lowered = jax.jit(partial(expert_ffn_pallas, tiles=tiles)).trace(*operands)
        text = lowered.lower(lowering_platforms=(platform,)).as_text()
    assert text.count("xla.gpu.triton") == 2


@pytest.mark.parametrize(("platform", "device"), [("cuda", "NVIDIA H100 80GB HBM3"), ("rocm", "gfx1201")])
def test_biases_and_a_clamped_gate_lower_for_an_absent_gpu(platform, device):
    """gpt-oss's sizes: 2880 is 45 blocks of 64."""
    layers, experts, width, tokens, choices = 2, 32, 2880, 2048, 4
    stack, side = ((layers, experts, width, width), jnp.bfloat16), ((layers, experts, width), jnp.bfloat16)
    chosen = ((tokens, choices), jnp.int32), ((tokens, choices), jnp.float32)
    x, *operands = (jax.ShapeDtypeStruct(*one) for one in (((tokens, width), jnp.bfloat16), *chosen, *[stack] * 3))
    layer, biases = jax.ShapeDtypeStruct((), jnp.int32), (jax.ShapeDtypeStruct(*side),) * 3
    tiles = MATMUL["sm_90" if platform == "cuda" else "gfx1201", 2, True, True]
    with absent_gpu(device):
        run = partial(expert_ffn_pallas, tiles=tiles, activation=ClampedSwish())
        text = jax.jit(run).trace(x, *operands, layer, biases).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("xla.gpu.triton") == 2


def test_what_it_does_not_take_is_named():
    x, experts, weights, *stacks = draw_operands(5, 1, 0, 0.0, sizes=(1, 2, 24, 16))
    with pytest.raises(ValueError, match="depth is a multiple of 16, got 24"):
        expert_ffn_pallas(x, experts, weights, *stacks, jnp.int32(0), tiles=SMALL, interpret=True)
    with pytest.raises(ValueError, match="no implementation 'ragged' of the experts; accepted: auto, block"):
        resolve_impl("ragged", 16, 16)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("tokens", [1, 67, 1511])
@settings(max_examples=4)
@given(st.integers(0, 2**32 - 1), st.sampled_from((0.0, 1.0, 9.0)))
def test_compiled_kernels_are_the_oracle(tokens, dtype, seed, spread):
    sizes = 2, 31, 512, 384
    operands = *draw_operands(tokens, 8, seed, spread, dtype, sizes), jnp.int32(LAYER)
    out = run(*operands, tiles=None, interpret=False)
    assert close(out, oracle(*operands), 1e-5 if dtype == jnp.float32 else 1e-2)
    for activation in ("gelu_tanh", ClampedSwish()):
        biased = *operands, draw_biases(seed, dtype, sizes)
        out = run(*biased, tiles=None, interpret=False, activation=activation)
        assert close(out, oracle(*biased, activation), 1e-5 if dtype == jnp.float32 else 1e-2)
