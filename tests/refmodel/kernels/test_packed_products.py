"""Products with packed weights against those with the numbers that they stand for: interpreted, in XLA, on a GPU.

On a GPU: `pytest -m gpu tests/refmodel/kernels/test_packed_products.py`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.kernels.matmul_tiles import MatmulTiles, ProjectionTiles
from attention.kernels.row_tiles import tile_rows
from attention.kernels.target import compiling_for
from refmodel.kernels.grouped import expert_ffn
from refmodel.kernels.grouped_matmul import NAME as GROUPED
from refmodel.kernels.grouped_matmul import grouped_matmul
from refmodel.kernels.grouped_pallas import expert_ffn_pallas
from refmodel.kernels.packed_tiles import step_of
from refmodel.kernels.projection import project
from refmodel.kernels.projection_pallas import NAME as FEW_ROWS
from refmodel.kernels.projection_pallas import project_few_rows
from refmodel.packed.packed import abstract_packed
from refmodel.packed.planes import PAIR
from refmodel.packed.scaled import fp8, int4, int8
from tests.compiling import AS_USERS_DO
from tests.gpu import TRITON_IS_LEAVING, absent_gpu, close
from tests.refmodel.kernels.packed_weights import CODINGS, pack

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

LAYER, D, F = 1, 384, 384
EXACT = partial(jnp.matmul, precision="highest")
NARROW, SMALL = ProjectionTiles(16, 128, 4, 1), MatmulTiles(16, 4, 32, 64, 4, 1)
some_codings = st.sampled_from(CODINGS)
BY_NAME = pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: coding.name)


def draw(coding, seed, *copies, rows=F, depth=D, dtype=jnp.float32, outer=()):
    weight = np.random.default_rng(seed).normal(size=(2, *copies, rows, depth)) / depth**0.5
    return pack(coding, weight, outer, dtype)


def numbers(packed):
    """What a packed stack stands for, as an array's stack has it, [..., depth, rows]."""
    return packed.expand().swapaxes(-1, -2)


def rows_of(rows, depth, seed, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(rows, depth)), dtype)


def routed(tokens, choices, experts, seed, spread=1.0):
    """Router-like: a large spread leaves some experts without rows."""
    rng = np.random.default_rng(seed)
    logits = rng.gumbel(size=(tokens, experts)) + spread * rng.normal(size=experts)
    weight_tk = jnp.asarray(rng.random((tokens, choices)), jnp.float32)
    return jnp.asarray(np.argsort(-logits, axis=1)[:, :choices], jnp.int32), weight_tk


# ------------------------------------------------------------------------------------------------------ projections


@BY_NAME
def test_an_interpreted_kernel_decodes_every_coding(coding):
    """The layers that are not meant are other numbers; an unwritten output is NaN."""
    x, packed = rows_of(5, D, 0), draw(coding, 1, rows=48)
    (found,) = project_few_rows(x, (packed,), jnp.int32(LAYER), tiles=NARROW, interpret=True)
    assert close(found, EXACT(x, numbers(packed)[LAYER]), 2e-6)


@pytest.mark.parametrize("coding", [int4(128), int8(96)], ids=lambda coding: coding.name)
def test_an_interpreted_kernel_decodes_groups_longer_than_a_step(coding):
    x, packed = rows_of(5, D, 0), draw(coding, 1, rows=48)
    tiles = ProjectionTiles(16, 64 if coding.group == 128 else 32, 4, 1)
    (found,) = project_few_rows(x, (packed,), jnp.int32(LAYER), tiles=tiles, interpret=True)
    assert close(found, EXACT(x, numbers(packed)[LAYER]), 2e-6)


def test_a_step_is_a_power_of_two_that_divides_and_whole_pairs_of_nibbles():
    nibbles, plain = draw(int4(32), 1, rows=16), jnp.ones((2, D, 16))
    assert step_of((plain, nibbles), 256, D) == 128 and step_of((plain,), 32, D) == 32
    assert step_of((plain, nibbles), 32, D) == PAIR == 64


@settings(max_examples=4)
@given(some_codings, some_codings, st.sampled_from((1, 17, 64)), st.sampled_from((64, 128)))
def test_stacks_of_several_codings_and_arrays_are_multiplied_by_one_kernel(one, other, rows, depth_step):
    x, stacks = rows_of(rows, D, rows), (draw(one, 1, rows=48), draw(other, 2, rows=16))
    plain = jnp.asarray(np.random.default_rng(3).normal(size=(2, D, 32)), jnp.float32)
    run = partial(project_few_rows, tiles=ProjectionTiles(16, depth_step, 4, 1), interpret=True)
    found = jax.jit(run)(x, (stacks[0], plain, stacks[1]), jnp.int32(LAYER))
    for y, wanted in zip(found, (numbers(stacks[0]), plain, numbers(stacks[1])), strict=True):
        assert close(y, EXACT(x, wanted[LAYER]), 2e-6)


@BY_NAME
def test_xla_multiplies_by_one_matrix_of_a_stack(coding):
    x = rows_of(6, D, 0).reshape(2, 3, 6, D // 6)
    packed, plain = draw(coding, 1, rows=40, outer=(8, 5)), jnp.ones((2, 6, D // 6, 7))
    heads, ones = jax.jit(partial(project, axes=2))(x, (packed, plain), jnp.int32(LAYER))
    wanted = EXACT(x.reshape(2, 3, D), numbers(packed)[LAYER])
    assert heads.shape == (2, 3, 8, 5) and ones.shape == (2, 3, 7)
    assert close(heads.reshape(2, 3, 40), wanted, 2e-6)


@pytest.mark.parametrize("coding", [int4(), int8(), fp8()], ids=lambda coding: coding.name)
def test_weights_are_rounded_to_the_dtype_of_the_rows(coding):
    x, packed = rows_of(3, D, 0, jnp.bfloat16), draw(coding, 1, rows=48, dtype=jnp.bfloat16)
    wanted = EXACT(x.astype(jnp.float32), numbers(packed)[LAYER].astype(jnp.float32))
    few = partial(project_few_rows, tiles=NARROW, interpret=True, dtype=jnp.float32)
    many = partial(project, exact=True)
    assert close(few(x, (packed,), jnp.int32(LAYER))[0], wanted, 2e-6)
    assert close(many(x[None], (packed,), jnp.int32(LAYER))[0][0], wanted, 2e-6)


@pytest.mark.parametrize(("target", "rows", "runs"), [("sm_90", 5, True), ("gfx1201", 5, True), ("sm_90", 65, False)])
def test_a_gpu_takes_few_rows(target, rows, runs):
    with compiling_for(target):
        jaxpr = str(jax.make_jaxpr(project)(rows_of(rows, D, 0)[None], (draw(int4(), 1),), jnp.int32(0)))
    assert (f"name={FEW_ROWS}" in jaxpr) == runs


# ---------------------------------------------------------------------------------------------------------- experts


def experts_of(codings, seed, dtype=jnp.float32, experts=5):
    """Gate, up and down; as wide as deep, for a depth has to be a multiple of every group."""
    sides = (F, D), (F, D), (D, F)
    draws = zip(codings, sides, strict=True)
    return tuple(draw(one, seed + n, experts, rows=r, depth=d, dtype=dtype) for n, (one, (r, d)) in enumerate(draws))


@settings(max_examples=4)
@given(st.tuples(some_codings, some_codings, some_codings), st.sampled_from((1, 37)), st.sampled_from((0.0, 9.0)))
def test_interpreted_experts_are_those_of_their_numbers(codings, tokens, spread):
    """Few rows and ragged tiles; an expert that all rows have, and such as none has."""
    stacks, routing = experts_of(codings, 1), routed(tokens, 2, 5, tokens, spread)
    x, biases = rows_of(tokens, D, 7), tuple(jnp.full((2, 5, side), 0.1 * side / D) for side in (F, F, D))
    run = jax.jit(partial(expert_ffn_pallas, tiles=SMALL, interpret=True))
    wanted = jax.jit(expert_ffn)(x, *routing, *map(numbers, stacks), jnp.int32(LAYER), biases)
    assert close(run(x, *routing, *stacks, jnp.int32(LAYER), biases), wanted, 3e-6)


@BY_NAME
def test_blockwise_experts_are_those_of_their_numbers(coding):
    stacks, routing, x = experts_of([coding] * 3, 1), routed(11, 2, 5, 0), rows_of(11, D, 7)
    run = jax.jit(partial(expert_ffn, impl="blockwise"))
    assert close(run(x, *routing, *stacks, jnp.int32(LAYER)), run(x, *routing, *map(numbers, stacks), LAYER), 3e-6)


def test_a_packed_weight_and_an_array_share_a_kernel():
    """Columns that no block divides: the last block begins early, and rows of scales with it."""
    coding = next(one for one in CODINGS if one.name == "four")
    packed, x = draw(coding, 1, 3, rows=144, depth=128), rows_of(29, 128, 0)
    plain = jnp.asarray(np.random.default_rng(3).normal(size=(2, 3, 128, 144)), jnp.float32)
    expert_r = jnp.asarray(np.random.default_rng(0).integers(0, 3, 29))
    table = tile_rows(expert_r, 3, SMALL.rows)
    run = partial(grouped_matmul, layer=jnp.int32(LAYER), table=table, tiles=SMALL, interpret=True)
    found = run(x, (packed, plain))
    gate, up = (jnp.einsum("rd,rdf->rf", x, w[LAYER][expert_r], precision="highest") for w in (numbers(packed), plain))
    assert close(found, jax.nn.silu(gate) * up, 3e-6)


# ------------------------------------------------------------------------------------------------ what is not there

LAYERS, EXPERTS = 3, 7


def sizes_in(text):
    """Numbers of every array that a program's text names with a floating dtype."""
    shapes = re.findall(r"\b(?:f32|bf16)\[([\d,]+)\]", text)
    return [math.prod(map(int, shape.split(","))) for shape in shapes]


@pytest.mark.parametrize("looped", [False, True])
def test_one_matrix_of_a_projection_is_expanded_at_a_time(looped):
    """Neither a stack nor a layer's two matrices together, within a loop over layers or not."""
    stacks = tuple(abstract_packed(int4(), (LAYERS, D, D), jnp.bfloat16) for _ in range(2))
    x = jax.ShapeDtypeStruct((1, 67, D), jnp.bfloat16)

    def one_layer(x, layer, stacks):
        gate, up = project(x, stacks, layer)
        return gate * up

    def all_layers(x, stacks):
        return jax.lax.scan(lambda x, layer: (one_layer(x, layer, stacks), None), x, jnp.arange(LAYERS))[0]

    run = all_layers if looped else lambda x, stacks: one_layer(x, jnp.int32(LAYER), stacks)
    text = jax.jit(run).lower(x, stacks).compile(AS_USERS_DO).as_text()
    assert max(sizes_in(text)) == D * D


def test_one_matrix_of_the_experts_is_expanded_at_a_time():
    """Nor are the bytes of more than one copied out of the stack."""
    stack = abstract_packed(int4(), (LAYERS, EXPERTS, D, D), jnp.bfloat16)
    shapes = ((67, D), jnp.bfloat16), ((67, 2), jnp.int32), ((67, 2), jnp.float32)
    x, *routing = (jax.ShapeDtypeStruct(*one) for one in shapes)
    layer = jax.ShapeDtypeStruct((), jnp.int32)
    lowered = jax.jit(partial(expert_ffn, impl="blockwise")).lower(x, *routing, *[stack] * 3, layer)
    text = lowered.compile(AS_USERS_DO).as_text()
    assert max(sizes_in(text)) < 2 * D * D
    made = re.findall(r"= u8\[([\d,]+)\]\S* (?!parameter|get-tuple-element|bitcast)", text)
    assert made and max(math.prod(map(int, shape.split(","))) for shape in made) <= D * D // 2


# ------------------------------------------------------------------------------------------------------ derivatives


def test_gradients_by_the_rows_are_those_of_the_numbers(monkeypatch):
    """Of a kernel's product too, which is differentiated as the plain one."""
    stacks, routing, x = experts_of([int4(), int8(48), fp8()], 1), routed(11, 2, 5, 0), rows_of(11, D, 7)
    interpreted = partial(expert_ffn_pallas, tiles=SMALL, interpret=True)
    monkeypatch.setattr("refmodel.kernels.grouped_pallas.expert_ffn_pallas", interpreted)

    def gradient(stacks, impl):
        def loss(x):
            return jnp.sin(expert_ffn(x, *routing, *stacks, jnp.int32(LAYER), impl=impl)).sum()

        return jax.jit(jax.grad(loss))(x)

    wanted = gradient(tuple(map(numbers, stacks)), "blockwise")
    for impl in ("blockwise", "pallas"):
        chex.assert_trees_all_close(gradient(stacks, impl), wanted, atol=1e-5, rtol=1e-4)


def test_integers_have_no_gradient_and_scales_have_one():
    x, packed = rows_of(3, D, 0)[None], draw(int4(), 1, rows=48)

    def loss(packed, scale=None):
        if scale is not None:
            packed = dataclasses.replace(packed, parts=packed.parts | {"scale": scale})
        return project(x, (packed,), jnp.int32(LAYER))[0].sum()

    with pytest.raises(TypeError, match=r"grad requires real- or complex-valued inputs.*uint8"):
        jax.grad(loss)(packed)
    by_scale = jax.grad(loss, argnums=1)(packed, packed.parts["scale"].astype(jnp.float32))
    assert (by_scale[LAYER] != 0).any() and not by_scale[1 - LAYER].any()


# ------------------------------------------------------------------------------------------------------ on a device


@pytest.mark.parametrize(("platform", "device"), [("cuda", "NVIDIA H100 80GB HBM3"), ("rocm", "gfx1201")])
@pytest.mark.parametrize("coding", [int4(), int8(), fp8()], ids=lambda coding: coding.name)
def test_kernels_lower_for_an_absent_gpu(platform, device, coding):
    """Stacks beyond 2**32 bytes, which need offsets of 64 bits."""
    layers, experts, width, hidden, tokens = 48, 128, 2048, 768, 2048
    sides = (hidden, width), (hidden, width), (width, hidden)
    stacks = [abstract_packed(coding, (layers, experts, *side), jnp.bfloat16) for side in sides]
    shapes = ((tokens, width), jnp.bfloat16), ((tokens, 8), jnp.int32), ((tokens, 8), jnp.float32)
    x, *routing = (jax.ShapeDtypeStruct(*one) for one in shapes)
    layer, target = jax.ShapeDtypeStruct((), jnp.int32), "sm_90" if platform == "cuda" else "gfx1201"
    with compiling_for(target), absent_gpu(device):  # the inner one is whom Pallas asks
        lowered = jax.jit(expert_ffn).trace(x, *routing, *stacks, layer).lower(lowering_platforms=(platform,))
    assert lowered.as_text().count("xla.gpu.triton") == 2
    with compiling_for(target):
        assert f"name={GROUPED}" in str(jax.make_jaxpr(expert_ffn)(x, *routing, *stacks, layer))


@pytest.mark.gpu
@BY_NAME
def test_compiled_kernels_are_the_oracle(coding):
    stacks = experts_of([coding] * 3, 1, jnp.bfloat16, experts=16)
    wide = tuple(numbers(stack).astype(jnp.float32) for stack in stacks)
    for tokens in (1, 67, 1511):
        routing, x = routed(tokens, 2, 16, tokens), rows_of(tokens, D, 7, jnp.bfloat16)
        wanted = expert_ffn(x.astype(jnp.float32), *routing, *wide, jnp.int32(LAYER), impl="blockwise")
        assert close(jax.jit(expert_ffn)(x, *routing, *stacks, jnp.int32(LAYER)), wanted, 1e-2)
    packed = draw(coding, 1, rows=768, dtype=jnp.bfloat16)
    for rows in (5, 7, 64):  # fewer are of another kernel, which rounds no weights
        x = rows_of(rows, D, rows, jnp.bfloat16)
        (found,) = jax.jit(partial(project, exact=True))(x[None], (packed,), jnp.int32(LAYER))
        assert close(found[0], EXACT(x.astype(jnp.float32), numbers(packed)[LAYER].astype(jnp.float32)), 1e-4)
