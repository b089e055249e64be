"""The kernel for few rows and packed weights against the numbers that those stand for: interpreted, and on a GPU.

On a GPU: `pytest -m gpu tests/refmodel/kernels/test_packed_rows.py`.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.kernels.matmul_tiles import PackedRowTiles
from attention.kernels.target import compiling_for
from refmodel.gating import gated
from refmodel.kernels.grouped import expert_ffn
from refmodel.kernels.packed_rows import MOST_ROWS, NAME, expert_packed_rows, project_packed_rows, takes
from refmodel.kernels.projection import project
from refmodel.packed.codings import parse_coding
from refmodel.packed.packed import Packed, abstract_packed
from refmodel.packed.scaled import int4, int8
from tests.gpu import TRITON_IS_LEAVING, close
from tests.refmodel.kernels.packed_weights import CODINGS

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

LAYER, LAYERS, EXPERTS = 1, 2, 5
SHARED = next(coding for coding in CODINGS if coding.name == "four")  # a minimum, and items of several rows and groups
TAKEN = (
    int4(0), int8(0), SHARED,
    *map(parse_coding, ("int4", "int4(128)", "int8", "q4_0", "q4_1", "q4_k", "q8_0", "uint4")),
)  # fmt: skip
OTHERS = tuple(map(parse_coding, ("int4(16)", "int8(48)", "fp8", "q5_0", "q6_k", "iq4_nl", "mxfp4")))
BY_NAME = pytest.mark.parametrize("coding", TAKEN, ids=lambda coding: coding.name)
SMALL = PackedRowTiles(16, 4, 4)
"""Four runs of a row at a time, of which the last are not all there, and four rows."""


def draw(coding, seed, *copies, rows, depth, dtype=jnp.float32, outer=()):
    """Random parts whose every field differs from item to item, as `Coding.draw` does not have it."""
    shape, rng = (LAYERS, *copies, rows, depth), np.random.default_rng(seed)
    parts = {}
    for name, (part, kind) in coding.shapes(rows, depth).items():
        size, dtype_of = (LAYERS, *copies, *part), np.dtype(kind)
        if dtype_of.kind in "iu":
            parts[name] = rng.integers(0, 256, (*size, dtype_of.itemsize), np.uint8).view(dtype_of)[..., 0]
        else:
            parts[name] = (rng.normal(size=size) / (8 * depth**0.5)).astype(dtype_of)
    return Packed({name: jnp.asarray(part) for name, part in parts.items()}, coding, shape, jnp.dtype(dtype), outer)


def numbers(packed):
    """float64 [..., rows, depth], not rounded to the dtype that others multiply in."""
    return np.asarray(packed.coding.decode(packed.parts, *packed.shape[-2:]), np.float64)


def rows_of(rows, depth, seed, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(rows, depth)), dtype)


def test_what_the_kernel_takes():
    taken = [takes([abstract_packed(coding, (1, 16, 768), jnp.bfloat16)]) for coding in (*TAKEN, *OTHERS)]
    assert taken == [True] * len(TAKEN) + [False] * len(OTHERS)
    array, packed = jnp.zeros((1, 768, 16)), abstract_packed(TAKEN[0], (1, 16, 768), jnp.bfloat16)
    assert not takes([packed, array])


@BY_NAME
def test_projections_are_those_of_the_numbers(coding):
    """To float32's precision of rows of bfloat16, for weights are not rounded; a width that no tile divides too."""
    widths = (48, 16) if coding is SHARED else (48, 17)
    stacks = tuple(draw(coding, n, rows=width, depth=768) for n, width in enumerate(widths))
    run = partial(project_packed_rows, tiles=SMALL, interpret=True, dtype=jnp.float32)
    found = run(x := rows_of(3, 768, 0, jnp.bfloat16), stacks, jnp.int32(LAYER))
    for y, stack in zip(found, stacks, strict=True):
        assert close(y, np.asarray(x, np.float64) @ numbers(stack)[LAYER].T, 3e-6)


@pytest.mark.parametrize("bits", [4, 8])
def test_projections_of_several_codings_share_a_kernel(bits):
    codings = int4(64), int8(32) if bits == 8 else int4(0)
    stacks = tuple(draw(one, n, rows=32, depth=384) for n, one in enumerate(codings))
    found = project_packed_rows(rows_of(1, 384, 0), stacks, jnp.int32(LAYER), tiles=SMALL, interpret=True)
    for y, stack in zip(found, stacks, strict=True):
        assert close(y, np.asarray(rows_of(1, 384, 0), np.float64) @ numbers(stack)[LAYER].T, 3e-6)


@BY_NAME
def test_experts_of_each_slot_are_those_of_the_numbers(coding):
    depth, width, choices, activation = 768, 24, 2, "gelu_tanh"
    gate, up = (draw(coding, seed, EXPERTS, rows=width, depth=depth) for seed in (1, 2))
    biases = tuple(jnp.asarray(np.random.default_rng(n).normal(size=(LAYERS, EXPERTS, width))) for n in (3, 4))
    x, expert_s = rows_of(3, depth, 0), jnp.array([4, 0, 2, 2, 0, 3])
    scale_s = jnp.array([1.0, 2.0, -3.0, 5.0, -7.0, 11.0])
    run = partial(expert_packed_rows, layer=jnp.int32(LAYER), choices=choices, tiles=SMALL, interpret=True)
    found = run(x, (gate, up), biases, expert_s=expert_s, scale_s=scale_s, activation=activation)
    x_sd = np.asarray(x, np.float64)[np.arange(6) // choices]
    each = [np.einsum("sd,sfd->sf", x_sd, numbers(one)[LAYER][expert_s]) for one in (gate, up)]
    g, u = (jnp.asarray(one + bias[LAYER][expert_s]) for one, bias in zip(each, biases, strict=True))
    assert close(found, gated(g, u, activation) * scale_s[:, None], 3e-6)


@pytest.mark.parametrize("target", ["sm_90", "gfx1201"])
def test_a_gpu_takes_few_rows_of_packed_weights(target):
    def runs(rows, *names):
        stacks = tuple(abstract_packed(parse_coding(name), (LAYERS, 32, 768), jnp.float32) for name in names)
        with compiling_for(target):
            jaxpr = jax.make_jaxpr(project)(jnp.zeros((1, rows, 768)), stacks, jnp.int32(0))
        return f"name={NAME}" in str(jaxpr)

    for name, most in (("int4", MOST_ROWS[4]), ("int8", MOST_ROWS[8])):
        assert [runs(rows, name) for rows in (1, most, most + 1)] == [True, True, False]
    assert [runs(1, "int4", "int8"), runs(1, "int4", "fp8")] == [True, False]


@pytest.mark.parametrize("target", ["sm_90", "gfx1201"])
def test_a_gpu_takes_few_tokens_to_packed_experts(target):
    """Those that have experts of their own, most of them; gate and up of one width of bits."""

    def runs(tokens, gate, up, down):
        stacks = [
            abstract_packed(parse_coding(name), (LAYERS, 16, *sides), jnp.float32)
            for name, sides in ((gate, (256, 768)), (up, (256, 768)), (down, (768, 256)))
        ]
        routing = jnp.zeros((tokens, 2), jnp.int32), jnp.zeros((tokens, 2))
        with compiling_for(target):
            jaxpr = jax.make_jaxpr(expert_ffn)(jnp.zeros((tokens, 768)), *routing, *stacks, jnp.int32(0))
        return str(jaxpr).count(f"name={NAME}")

    assert [runs(tokens, "int4", "int4", "int8") for tokens in (1, 4, 5)] == [2, 2, 0]
    assert [runs(1, "int4", "int8", "int4"), runs(1, "int4", "int4", "fp8")] == [0, 0]


@pytest.mark.gpu
@BY_NAME
@pytest.mark.parametrize(("rows", "depth"), [(1, 768), (3, 4352)])
def test_compiled_projections_are_those_of_the_numbers(coding, rows, depth):
    """Of a part of one step, and of several whose last is a part; of more rows than a program has, and of less."""
    stacks = tuple(draw(coding, n, rows=rows, depth=depth, dtype=jnp.bfloat16) for n, rows in enumerate((16, 272)))
    x = rows_of(rows, depth, rows, jnp.bfloat16)
    found = jax.jit(partial(project, exact=True))(x[None], stacks, jnp.int32(LAYER))
    for y, stack in zip(found, stacks, strict=True):
        assert close(y[0], np.asarray(x, np.float64) @ numbers(stack)[LAYER].T, 1e-5)


@pytest.mark.gpu
@BY_NAME
def test_compiled_experts_of_each_slot_are_those_of_the_numbers(coding):
    depth, width = 2048, 768
    gate, up = (draw(coding, seed, 16, rows=width, depth=depth, dtype=jnp.bfloat16) for seed in (1, 2))
    down = draw(coding, 3, 16, rows=depth, depth=width, dtype=jnp.bfloat16)
    for tokens in (1, 4):
        rng, x = np.random.default_rng(tokens), rows_of(tokens, depth, tokens, jnp.bfloat16)
        expert_tk, weight_tk = rng.permuted(np.tile(np.arange(16), (tokens, 1)), axis=1)[:, :2], rng.random((tokens, 2))
        run = jax.jit(lambda x, e, w, *stacks: expert_ffn(x, e, w, *stacks, jnp.int32(LAYER)))
        found = run(x, jnp.asarray(expert_tk, jnp.int32), jnp.asarray(weight_tk, jnp.float32), gate, up, down)
        of = {name: numbers(one)[LAYER][expert_tk] for name, one in (("gate", gate), ("up", up), ("down", down))}
        g, u = (np.einsum("td,tkfd->tkf", np.asarray(x, np.float64), of[name]) for name in ("gate", "up"))
        y = np.einsum("tk,tkf,tkdf->td", weight_tk, g / (1 + np.exp(-g)) * u, of["down"])
        assert close(found.astype(jnp.float32), y, 1e-2)
