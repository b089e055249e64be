"""The kernel for chosen blocks against the dense oracle: interpreted on a CPU, compiled on a GPU.

On a GPU: `pytest -m gpu tests/attention/test_pallas_blocks.py`.
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

from attention.attend import attend, choose_impl
from attention.cost import Heads
from attention.kernels import pallas_choice
from attention.kernels.block_routed import BlockChoice, attend_chosen_dense
from attention.kernels.index_choice import choose_blocks_by_index
from attention.kernels.pallas_blocks import NAME, attend_blocks, attend_pallas_blocks
from attention.kernels.pallas_choice import PARTS
from attention.kernels.row_tiles import most_tiles, tile_rows
from attention.kernels.target import compiling_for
from attention.kernels.tiles import ATTENTION, AttentionTiles, block_tiles
from attention.pattern import SpanPattern
from eval.cost.flops.traced import count_flops
from tests.attention.dense_oracle import attend_dense
from tests.attention.layer_inputs import layer_input
from tests.attention.test_block_routed import BlockRouted, blocks_by_hand
from tests.gpu import TRITON_IS_LEAVING, absent_gpu, close
from tests.operands import on_device

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

SMALL = AttentionTiles(16, 16, 4, 1)
BY_COLUMN = AttentionTiles(32, 16, 4, 1, v_by_column=True)
HEADS = Heads(6, 2, 16, 11), Heads(5, 5, 16, 3), Heads(7, 1, 16, 13)
variants = st.builds(BlockRouted, st.sampled_from((1, 7, 16, 41)), st.integers(1, 5))
SHAPES = st.sampled_from(((61, 0), (97, 0), (53, 44), (3, 110)))
"""Tokens, and tokens before them."""


def operands_of(variant: BlockRouted, heads: Heads, tokens: int, start: int = 0, **options):
    return layer_input(variant, heads, tokens, start, **options)[1:6]


@partial(jax.jit, static_argnames=("choice", "tiles"))
def interpreted(*operands, choice: BlockChoice, tiles: AttentionTiles = SMALL):
    found = attend_pallas_blocks(*operands, choice, return_lse=True, tiles=tiles, interpret=True)
    return found.out_btnh, found.lse_bnt, found.visited


@partial(jax.jit, static_argnames="choice")
def oracle(*operands, choice: BlockChoice):
    return attend_chosen_dense(*operands, choice)


def shuffled(rng: np.random.Generator, q, k, v, q_pos, kv_pos, empty: int):
    """Slots in an order of each row's and head's own with empty ones among them, and some queries that are padding."""
    b, s, n_kv, _ = k.shape
    order = np.stack([[rng.permutation(s + empty) for _ in range(n_kv)] for _ in range(b)])

    def mixed(x_bks, fill):
        padding = [(0, 0), (0, 0), (0, empty)] + [(0, 0)] * (x_bks.ndim - 3)
        padded = jnp.pad(x_bks, padding, constant_values=fill)
        return jnp.take_along_axis(padded, order.reshape(*order.shape, *(1,) * (x_bks.ndim - 3)), axis=2)

    k, v = (mixed(x.swapaxes(1, 2), 9.0).swapaxes(1, 2) for x in (k, v))
    q_pos = jnp.where(rng.random(q_pos.shape) < 0.2, -1, q_pos)
    return q, k, v, q_pos, mixed(jnp.broadcast_to(kv_pos, (b, n_kv, s)), -1)


@settings(max_examples=10)
@given(variants, st.sampled_from(HEADS), SHAPES, st.sampled_from((SMALL, BY_COLUMN)), st.booleans(), st.integers(0, 99))
def test_interpreted_kernel_is_the_oracle(variant, heads, shape, tiles, shuffle, seed):
    """Unwritten outputs of an interpreted kernel are NaN, so that no part without a choice can be among the results."""
    operands, choice = operands_of(variant, heads, *shape, seed=seed), BlockChoice(variant.block, variant.topk)
    if shuffle:
        operands = shuffled(np.random.default_rng(seed), *operands, empty=22)
    out, lse, _ = interpreted(*operands, choice=choice, tiles=tiles)
    chex.assert_trees_all_close((out, lse), oracle(*operands, choice=choice), atol=2e-5, rtol=2e-5)
    padding = np.broadcast_to(operands[3] < 0, out.shape[:2])
    assert not np.asarray(out)[padding].any()
    assert (np.asarray(lse).swapaxes(1, 2)[padding] == -np.inf).all()


def test_what_no_pair_chose_is_left_unwritten_and_harms_nobody():
    """The oracle's test would pass for a kernel that wrote zeros there; this one sees the NaN."""
    q, keys = jnp.ones((5, 16)), jnp.ones((3, 7, 16))
    group_p = jnp.array([3, 0, 2, 3, 1])  # 3 is none
    table = tile_rows(group_p, 4, SMALL.rows)
    out, lse = attend_blocks(q, keys, keys, table, tiles=SMALL, interpret=True)
    np.testing.assert_array_equal(np.isnan(np.asarray(out)).any(1), np.asarray(group_p) == 3)
    np.testing.assert_allclose(lse[jnp.array([1, 2, 4])], 4 + np.log(7), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats_are_accumulated_in_float32(dtype):
    q, k, v, *positions = operands_of(BlockRouted(7, 3), HEADS[0], 97)
    short = *(x.astype(dtype) for x in (q, k, v)), *positions
    out, lse, _ = interpreted(*short, choice=BlockChoice(7, 3))
    assert out.dtype == dtype and lse.dtype == jnp.float32
    exact, exact_lse = oracle(*(x.astype(jnp.float32) for x in short[:3]), *positions, choice=BlockChoice(7, 3))
    assert close(out, exact, 1e-2) and close(lse, exact_lse, 1e-2)


@pytest.mark.parametrize("choice", [BlockChoice(16, 7), BlockChoice(41, 3), BlockChoice(1000, 3)])
def test_as_many_choices_as_blocks_are_full_attention(choice):
    operands = operands_of(BlockRouted(), HEADS[0], 97)
    out, lse, _ = interpreted(*operands, choice=choice)
    chex.assert_trees_all_close((out, lse), attend_dense(*operands, SpanPattern()), atol=2e-5)


@settings(max_examples=4)
@given(variants, st.sampled_from(HEADS), SHAPES, st.integers(0, 99))
def test_visited_pairs_are_those_of_the_tiles_of_the_choice(variant, heads, shape, seed):
    """Apart from the own block's, which are those of a span pattern."""
    layer = layer_input(variant, heads, *shape, batch=1, seed=seed)
    group, n_blocks = heads.n_heads // heads.n_kv_heads, -(-sum(shape) // variant.block)
    own, whole = (
        int(interpreted(*layer[1:6], choice=BlockChoice(variant.block, topk))[2]) for topk in (1, variant.topk)
    )
    rows = np.zeros((heads.n_kv_heads, n_blocks), int)  # all choices of a block share its tiles
    for (_, n, _), blocks in blocks_by_hand(variant, layer):
        for block in blocks[1:]:
            rows[n // group, block] += 1
    key_tiles = -(-variant.block // SMALL.keys)
    assert whole - own == (-(-rows // SMALL.rows)).sum() * SMALL.rows * key_tiles * SMALL.keys


def test_gradients_are_those_of_the_dense_form():
    q, k, v, *positions = operands_of(BlockRouted(7, 3), HEADS[0], 31)
    weights = np.random.default_rng(0).normal(size=q.shape)

    def gradients(attend):
        def loss(*floats):
            out, lse = attend(*floats, *positions, choice=BlockChoice(7, 3))[:2]
            return (out * weights).sum() + jnp.sin(lse).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(q, k, v)

    chex.assert_trees_all_close(gradients(interpreted), gradients(oracle), atol=1e-4)


@pytest.mark.parametrize("heads", HEADS)
def test_a_choice_that_is_there_already_is_an_operand(heads):
    """One for each group, chosen by what is differentiated; gradients flow through what was chosen alone."""
    q, k, v, q_pos, kv_pos = operands_of(BlockRouted(7, 3), heads, 61)
    weights = np.random.default_rng(0).normal(size=q.shape)

    def attended(kernel, *floats):
        index_q, index_k = (x[:, :, :: x.shape[2] // heads.n_kv_heads] for x in floats[:2])
        index_k = jnp.pad(index_k[:, :, 0], ((0, 0), (0, 2), (0, 0)))
        choice = choose_blocks_by_index(index_q, index_k, q_pos, BlockChoice(7, 3))
        return kernel(*floats, q_pos, kv_pos, choice)

    def by_kernel(*operands):
        found = attend_pallas_blocks(*operands, return_lse=True, tiles=SMALL, interpret=True)
        return found.out_btnh, found.lse_bnt

    def gradients(kernel):
        def loss(*floats):
            return (attended(kernel, *floats)[0] * weights).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(q, k, v)

    found, expected = (jax.jit(partial(attended, kernel))(q, k, v) for kernel in (by_kernel, attend_chosen_dense))
    chex.assert_trees_all_close(found, expected, atol=2e-5)
    chex.assert_trees_all_close(gradients(by_kernel), gradients(attend_chosen_dense), atol=1e-4)


@pytest.mark.parametrize(("platform", "target", "device"), [
    ("cuda", "sm_90", "NVIDIA H100 80GB HBM3"), ("rocm", "gfx1201", "gfx1201"),
])  # fmt: skip
@pytest.mark.parametrize("head_dim", [64, 128, 256])
def test_lowers_for_an_absent_gpu(platform, target, device, head_dim):
    tiles, shapes = block_tiles(target, jnp.bfloat16, head_dim), [(1, 256, n, head_dim) for n in (8, 2, 2)]
    assert tiles.ptx == ATTENTION[target, 2, head_dim].ptx and tiles.v_by_column == (
        ATTENTION[target, 2, head_dim].v_by_column
    )
    pos = jnp.arange(256)[None]
    run = jax.jit(lambda *qkv: attend_pallas_blocks(*qkv, pos, pos[None], BlockChoice(29, 3), tiles=tiles))
    with absent_gpu(device):
        lowered = run.trace(*(jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes)).lower(
            lowering_platforms=(platform,)
        )
    assert lowered.as_text().count(NAME) and "triton" in lowered.as_text()


def test_counted_flops_are_what_any_choice_may_need():
    """Gates, the tiles of the own blocks, and row tiles of the choices: on a GPU that is not there."""
    tokens, heads, choice = 1031, Heads(8, 2, 64), BlockChoice(128, 3)
    shapes = [jax.ShapeDtypeStruct((1, tokens, n, heads.head_dim), jnp.bfloat16) for n in (8, 2, 2)]
    pos = jnp.arange(tokens)[None]
    counts = {}
    with compiling_for("gfx1201"):
        assert choose_impl(*shapes[:2], choice) == "pallas"
        for topk in (1, 3):
            run = partial(attend, q_pos_bt=pos, kv_pos_bks=pos[None], pattern=BlockChoice(128, topk))
            counts[topk] = count_flops(lambda q, k, v, run=run: run(q, k, v), *shapes)
    tiles = block_tiles("gfx1201", jnp.bfloat16, heads.head_dim)
    gates = PARTS * 2 * heads.head_dim * 2 * (33 * 128) * 16  # 4 heads of each query in tiles of 128, 9 blocks as 16
    pairs, groups = 2 * tokens * heads.n_heads, 2 * 9
    assert counts[1].kernels.keys() == {"span_attention"} and counts[3].kernels.keys() == {
        "span_attention",
        NAME,
        pallas_choice.NAME,
    }
    provided = most_tiles(pairs, groups + 1, tiles.rows) * tiles.rows * choice.block
    assert counts[3].total - counts[1].total == gates + 4 * heads.head_dim * provided


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize(("choice", "head_dim"), [
    (BlockChoice(512, 3), 128), (BlockChoice(128, 5), 64), (BlockChoice(97, 2), 128), (BlockChoice(256, 4), 256),
])  # fmt: skip
def test_compiled_kernel_is_the_oracle(choice, head_dim, dtype):
    """But for few rows whose gates are so nearly equal that sums in another order swap two blocks."""
    rng, part = np.random.default_rng(0), 1031
    q, k, v = (on_device(rng.normal(size=(1, 4 * part, n, head_dim)), dtype) for n in (32, 4, 4))
    pos = jnp.arange(4 * part)[None]
    found = jax.jit(partial(attend, pattern=choice, impl="pallas", need_lse=True))(q, k, v, pos, pos[None])
    out, lse = found.out_btnh, found.lse_bnt
    tolerance = 1e-4 if dtype == jnp.float32 else 1e-2
    norm = partial(jnp.linalg.norm, axis=-1)
    for first in range(0, 4 * part, part):  # the whole mask of all of them is 2 GB
        here = slice(first, first + part)
        q32, k32, v32 = (x.astype(jnp.float32) for x in (q[:, here], k, v))
        exact, exact_lse = oracle(q32, k32, v32, pos[:, here], pos[None], choice=choice)
        is_off = norm(out[:, here] - exact) > tolerance * norm(exact)
        assert is_off.mean() < 1e-4 and (jnp.abs(lse[..., here] - exact_lse) > tolerance).mean() < 1e-4


@pytest.mark.gpu
def test_gradients_of_the_compiled_kernel():
    rng = np.random.default_rng(0)
    floats = [on_device(rng.normal(size=(1, 1031, n, 64))) for n in (10, 2, 2)]
    pos = jnp.arange(1031)[None]

    def gradients(impl):
        run = partial(attend, q_pos_bt=pos, kv_pos_bks=pos[None], pattern=BlockChoice(97, 3), impl=impl)
        return jax.jit(jax.grad(lambda *qkv: jnp.sin(run(*qkv).out_btnh).sum(), argnums=(0, 1, 2)))(*floats)

    for ours, exact in zip(gradients("pallas"), gradients("dense"), strict=True):
        assert close(ours, exact, 1e-4)
