"""Blocks that an index chooses: the choice and the attention against the definition, and counts against the masks."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attention.attend import attend
from attention.block_indexed import BlockIndexed
from attention.block_routed import BlockRouted
from attention.chosen import BlockChoice, ChosenBlocks
from attention.cost import Heads
from attention.indexed import keys_in_order
from attention.kernels.index_choice import choose_blocks_by_index
from attention.layout import parse_variant
from eval.measure.layer_program import layer_kernel
from eval.testing import assert_causal, assert_flops_agree, assert_matches_dense
from eval.testing.variant_case import VariantCase
from tests.attention.dense_oracle import attend_masked
from tests.attention.growth_oracle import assert_growth_is_that_of_tokens
from tests.attention.index_by_hand import msa_blocks, msa_mask
from tests.compiling import AS_USERS_DO
from tests.operands import on_device

pytestmark = pytest.mark.usefixtures("fast_compile")
HEADS = (Heads(6, 2, 10, 11), Heads(3, 3, 14, 13), Heads(5, 1, 8, 3), Heads(9, 3, 4, 17))
heads = st.sampled_from(HEADS)
variants = st.builds(BlockIndexed, st.sampled_from((1, 7, 16, 41)), st.integers(2, 5), st.sampled_from((2, 6, 22)))


IMPLS = ("blockwise", "dense")


@settings(max_examples=3)
@given(variants, heads, st.integers(8, 113), st.integers(0, 99), st.sampled_from(IMPLS))
@example(BlockIndexed(7, 3, 6), HEADS[0], 97, 0, "blockwise")  # many blocks to choose from, wherever others are drawn
@example(BlockIndexed(7, 3, 22), HEADS[3], 97, 0, "dense")
@example(BlockIndexed(41, 2, 6), HEADS[2], 97, 0, "blockwise")  # a block more than may be chosen
def test_a_prompt_in_any_steps_is_dense_attention_under_the_mask(variant, heads, tokens, seed, impl):
    mask = partial(msa_mask, variant)
    assert_matches_dense(variant, mask=mask, tokens=tokens, heads=heads, seed=seed, impl=impl)


@settings(max_examples=4)
@given(variants, heads, st.integers(8, 113))
@example(BlockIndexed(7, 3, 6), HEADS[0], 97)
def test_counts_are_those_of_what_runs(variant, heads, tokens):
    for impl in IMPLS:
        assert_flops_agree(variant, tokens=tokens, heads=heads, impl=impl)


@pytest.mark.parametrize("impl", IMPLS)
def test_no_bit_comes_from_the_future(impl):
    assert_causal(BlockIndexed(7, 3, 6), tokens=67, heads=HEADS[0], impl=impl)


@settings(max_examples=8)
@given(variants, heads, st.integers(1, 53), st.integers(0, 43))
def test_useful_are_the_masks_pairs_and_the_keys_that_the_index_has_to_look_at(variant, heads, tokens, start):
    useful, (g, dim) = variant.useful(heads, tokens, start), (heads.n_kv_heads, variant.dim)
    assert useful.pairs == BlockRouted(variant.block, variant.topk).useful(heads, tokens, start).pairs
    flops = 2 * heads.d_model * dim * tokens
    for own in (position // variant.block for position in range(start, start + tokens)):
        if own >= variant.topk:  # others may read all that there is
            flops += 2 * heads.d_model * g * dim + 2 * g * dim * own * variant.block
    assert useful.selection_flops == flops


@pytest.mark.parametrize("topk", [2, 4])
def test_what_tokens_cost_adds_up_to_what_a_prompt_does(topk):
    variant, heads = BlockIndexed(5, topk, 6), HEADS[0]
    each = variant.token_flops(heads, 3, 43)
    for tokens in (1, 8, 29, 43):
        assert each[:tokens].sum() == variant.useful(heads, tokens, 3).flops(heads)


@pytest.mark.parametrize(("block", "topk"), [(7, 2), (4, 5)])
def test_the_growth_of_a_prompt_is_that_of_its_tokens(block, topk):
    variant, heads = BlockIndexed(block, topk, 6), HEADS[0]
    found = variant.growth(heads)
    assert (found.period_tokens, found.settled_tokens) == (block, topk * block)
    assert_growth_is_that_of_tokens(variant.token_flops(heads, 0, 40 * block), found)
    assert variant.limiting_flops(heads) is None


@pytest.mark.parametrize("text", ["msa(16, topk=7, dim=6)", "msa(97, topk=2, dim=6)", "msa(dim=6)"])
def test_as_many_choices_as_blocks_are_full_attention(text):
    """The same program, but for the keys of the index that later tokens need."""
    variant, full = parse_variant(text), parse_variant("full")
    found, expected = (VariantCase(one, 97, HEADS[0], 0).run("blockwise", (97,)) for one in (variant, full))
    np.testing.assert_array_equal(found, expected)
    assert variant.executed(HEADS[0], 97) == full.executed(HEADS[0], 97)._replace(selection_flops=97 * 2 * 11 * 6)


def test_of_equal_scores_the_earlier_block_wins():
    q, k = jnp.ones((1, 1, 1, 4)), jnp.ones((1, 40, 4)).at[:, 20:24].set(2.0)
    found = choose_blocks_by_index(q, k, jnp.array([[37]]), BlockChoice(4, 4))
    assert found.chosen_jbtm[:, 0, 0, 0].tolist() == [9, 5, 0, 1]


@pytest.mark.parametrize("queries", [1, 11, 1000])
def test_few_queries_at_a_time_and_a_gpu_choose_the_same_blocks(monkeypatch, queries):
    rng = np.random.default_rng(0)
    q, k = on_device(rng.normal(size=(2, 133, 3, 6))), on_device(rng.normal(size=(2, 133, 6)))
    choose = partial(choose_blocks_by_index, q, k, jnp.arange(133)[None], BlockChoice(7, 3))
    expected = [
        blocks for _, blocks in sorted(msa_blocks(BlockIndexed(7, 3, 6), *map(np.asarray, (q, k)), np.arange(133)))
    ]
    expected = [blocks + [-1] * (3 - len(blocks)) for blocks in expected]
    monkeypatch.setattr("attention.kernels.index_choice.SCORES_BYTES", queries * 4 * 2 * 3 * 133)
    for target in ("cpu", "gfx1201"):
        monkeypatch.setattr("attention.kernels.index_choice.current_target", lambda target=target: target)
        found = choose().chosen_jbtm
        np.testing.assert_array_equal(found.transpose(1, 3, 2, 0).reshape(-1, 3), expected)


@pytest.mark.parametrize("impl", IMPLS)
def test_slots_in_any_order_with_gaps_and_padded_queries(impl):
    """As rows of different lengths leave them."""
    rng, variant, slots = np.random.default_rng(0), BlockIndexed(7, 3, 6), 61
    shapes = (61, 6, 10), (61, 2, 10), (61, 2, 10), (61, 1, 6)
    q, k, v, index_k = (on_device(rng.normal(size=(2, *shape))) for shape in shapes)
    index_q = on_device(rng.normal(size=(2, 61, 2, 6)))

    @jax.jit
    def run(q_pos, k, v, index_k, kv_pos):
        chosen = choose_blocks_by_index(index_q, keys_in_order(index_k, kv_pos, 7), q_pos, variant.choice)
        return attend(q, k, v, q_pos, kv_pos, chosen, impl=impl).out_btnh

    place = jnp.arange(slots)
    whole = run(place[None], k, v, index_k, place[None, None])
    order = np.stack([rng.permutation(83) for _ in range(2)])  # slots 61.. are empty

    def shuffled(x, fill):
        padded = np.pad(np.asarray(x), [(0, 0), (0, 22)] + [(0, 0)] * (x.ndim - 2), constant_values=fill)
        return on_device(np.stack([row[at] for row, at in zip(padded, order, strict=True)]), x.dtype)

    kv_pos = shuffled(jnp.broadcast_to(place, (2, slots)), -1)[:, None]
    q_pos = jnp.broadcast_to(place, (2, slots)).at[:, 50:].set(-1)
    out = run(q_pos, *(shuffled(x, 9.0) for x in (k, v, index_k)), kv_pos)
    chex.assert_trees_all_close(out[:, :50], whole[:, :50], atol=1e-5)
    assert not np.asarray(out[:, 50:]).any()


def test_a_choice_that_is_there_already_may_be_one_for_all_for_groups_or_for_heads():
    rng = np.random.default_rng(0)
    q, k, v = (on_device(rng.normal(size=(2, 17, n, 6))) for n in (6, 2, 2))
    place = jnp.arange(17)
    own = np.broadcast_to(np.arange(17)[None, :, None] // 4, (1, 17, 6))
    for units in (1, 2, 6):
        other = rng.integers(0, np.maximum(own[..., :units], 1)) * (own[..., :units] > 0) - (own[..., :units] == 0)
        chosen = np.stack([own[..., :units], other])
        mask = np.zeros((1, 6, 17, 17), bool)
        for t, n in np.ndindex(17, 6):
            mask[0, n, t] = np.isin(np.arange(17) // 4, chosen[:, 0, t, n * units // 6]) & (np.arange(17) <= t)
        expected, _ = attend_masked(q, k, v, jnp.asarray(mask))
        pattern = ChosenBlocks(4, 2, jnp.asarray(chosen, jnp.int32))
        for impl in IMPLS:
            found = attend(q, k, v, place[None], place[None, None], pattern, impl=impl).out_btnh
            chex.assert_trees_all_close(found, expected, atol=2e-5)
    wrong = ChosenBlocks(4, 2, jnp.zeros((2, 1, 17, 4), jnp.int32))
    with pytest.raises(ValueError, match=r"chosen blocks must be .*\[2, 17, \(2, 6\)\], got \(2, 1, 17, 4\)"):
        attend(q, k, v, place[None], place[None, None], wrong)
    for chosen, said in (
        (jnp.zeros((2, 17, 6), jnp.int32), r"chosen blocks must be \[choices, B or 1, T, 1 or K or N\], got int32"),
        (jnp.zeros((2, 1, 17, 6), bool), "chosen blocks must be int32, got bool"),
        (jnp.zeros((0, 1, 17, 6), jnp.int32), r"with at least one choice, got \(0, 1, 17, 6\)"),
    ):
        with pytest.raises(ValueError, match=said):
            attend(q, k, v, place[None], place[None, None], ChosenBlocks(4, 2, chosen))
    for block, topk, said in ((0, 2, "keys of a block must be"), (4, 0, "blocks that a query chooses must be")):
        with pytest.raises(ValueError, match=said):
            BlockChoice(block, topk)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_block_behind_the_last_slot_is_none(impl):
    q, k = (on_device(np.random.default_rng(n).normal(size=(1, 5, n, 6))) for n in (6, 2))
    place = jnp.arange(5)[None]
    own = jnp.broadcast_to(place[0][None, None, :, None] // 4, (1, 1, 5, 1))
    late = place.at[0, 3].set(9)
    none, behind = (ChosenBlocks(4, 2, jnp.concatenate([own, jnp.full_like(own, c)])) for c in (-1, 2))
    found, expected = (attend(q, k, k, late, place[None], one, impl=impl).out_btnh for one in (behind, none))
    chex.assert_trees_all_close(found, expected)


def test_memory_is_linear_in_the_prompt():
    def temp_bytes(tokens: int) -> int:
        _, (inputs, params) = case.kernel("blockwise", batch=1)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, tokens, *x.shape[2:]), x.dtype), inputs)
        kernel, _ = layer_kernel(case.config, variant, tokens, jnp.float32, inputs=shapes)
        return jax.jit(kernel).lower(shapes, params).compile(AS_USERS_DO).memory_analysis().temp_size_in_bytes

    variant = BlockIndexed(128, 4, 16)
    case = VariantCase(variant, 64, Heads(6, 2, 16, 11), 0)
    short, long = temp_bytes(8_192), temp_bytes(32_768)
    assert long < 4.2 * short and long < 32_768**2  # less than a byte a pair


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("msa(0)", "msa: block must be at least 1, got 0"),
        ("msa(topk=1)", "msa: topk must be at least 2, a query's own block and another, got 1"),
        ("msa(dim=7)", "msa: dim must be even, for rotary positions, and at least 2, got 7"),
        ("msa(128, k=3)", r"'k' which it does not have"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_variant(text)
