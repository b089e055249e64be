"""Blocks that a rule chooses: the choice and the attention against the definition, and counts against the masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import attention
from attention.attend import attend
from attention.block_routed import BlockRouted
from attention.block_ruled import BlocksByRule
from attention.block_rules import BLOCK_RULES, BlockRule, CausalAntidiagonal, CausalFlash
from attention.chosen import BlockChoice
from attention.cost import Heads
from attention.kernels.rule_choice import choose_blocks_by_rule
from attention.layout import parse_variant
from eval.measure.layer_program import layer_kernel
from eval.testing import assert_causal, assert_flops_agree, assert_matches_dense
from eval.testing.variant_case import VariantCase
from tests.attention.growth_oracle import assert_growth_is_that_of_tokens
from tests.attention.layer_inputs import layer_input
from tests.attention.rules_by_hand import ruled_mask
from tests.compiling import AS_USERS_DO
from tests.operands import on_device

pytestmark = pytest.mark.usefixtures("fast_compile")
HEADS = (Heads(6, 2, 10, 11), Heads(3, 3, 14, 13), Heads(5, 1, 8, 3), Heads(9, 3, 4, 17))
IMPLS = ("blockwise", "dense")
FLASH, ANTI = BlocksByRule(CausalFlash(1, 2), 7, 5), BlocksByRule(CausalAntidiagonal(1, 1, 3), 6, 4)
heads = st.sampled_from(HEADS)


@st.composite
def variants(draw) -> BlocksByRule:
    """Of small blocks, some with strides as long as they are."""
    block, stride = draw(st.sampled_from(((1, 1), (7, 7), (7, 1), (6, 3), (16, 4), (41, 41))))
    always = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    rule = draw(st.sampled_from((CausalFlash(*always), CausalAntidiagonal(*always, stride))))
    return BlocksByRule(rule, block, sum(always) + draw(st.integers(1, 3)))


@settings(max_examples=2)
@given(variants(), heads, st.integers(8, 113), st.integers(0, 99), st.sampled_from(IMPLS))
@example(FLASH, HEADS[0], 97, 0, "blockwise")  # many blocks to choose from, wherever others are drawn
@example(ANTI, HEADS[3], 97, 0, "dense")
@example(BlocksByRule(CausalFlash(0, 1), 41, 2), HEADS[2], 89, 0, "blockwise")  # a block more than may be chosen
def test_a_prompt_in_any_steps_is_dense_attention_under_the_mask(variant, heads, tokens, seed, impl):
    mask = partial(ruled_mask, variant)
    assert_matches_dense(variant, mask=mask, tokens=tokens, heads=heads, seed=seed, impl=impl)


@settings(max_examples=2)
@given(variants(), heads, st.integers(8, 113), st.sampled_from(IMPLS))
@example(FLASH, HEADS[0], 97, "dense")
@example(ANTI, HEADS[3], 97, "blockwise")
def test_counts_are_those_of_what_runs(variant, heads, tokens, impl):
    assert_flops_agree(variant, tokens=tokens, heads=heads, impl=impl)


@pytest.mark.parametrize("variant", [FLASH, ANTI], ids=str)
def test_no_bit_comes_from_the_future(variant):
    assert_causal(variant, tokens=67, heads=HEADS[0])


@settings(max_examples=12)
@given(variants(), heads, st.integers(1, 53), st.integers(0, 43))
def test_useful_are_the_masks_pairs_and_the_blocks_that_are_scored(variant, heads, tokens, start):
    useful, rule = variant.useful(heads, tokens, start), variant.rule
    assert useful.pairs == BlockRouted(variant.block, variant.topk).useful(heads, tokens, start).pairs
    stand = variant.block // rule.stride if isinstance(rule, CausalAntidiagonal) else 1
    own_t = np.arange(start, start + tokens) // variant.block
    scored = own_t[own_t >= variant.topk].sum()  # others may read all that there is
    assert useful.selection_flops == 2 * heads.head_dim * heads.n_heads * stand * scored


@pytest.mark.parametrize("variant", [FLASH, ANTI], ids=str)
def test_what_tokens_cost_adds_up_to_what_a_prompt_does(variant):
    each = variant.token_flops(HEADS[0], 3, 97)
    for tokens in (1, 8, 29, 97):
        assert each[:tokens].sum() == variant.useful(HEADS[0], tokens, 3).flops(HEADS[0])


@pytest.mark.parametrize(
    "variant", [FLASH, ANTI, BlocksByRule(CausalAntidiagonal(0, 1, 1), 8, 2), BlocksByRule(CausalFlash(0, 1), 4, 2)],
    ids=str,
)  # fmt: skip
def test_the_growth_of_a_prompt_is_that_of_its_tokens(variant):
    found = variant.growth(HEADS[0])
    assert (found.period_tokens, found.settled_tokens) == (variant.block, variant.topk * variant.block)
    assert_growth_is_that_of_tokens(variant.token_flops(HEADS[0], 0, 40 * variant.block), found, most=4)
    assert variant.limiting_flops(HEADS[0]) is None


@pytest.mark.parametrize("variant", [FLASH, ANTI, BlocksByRule(CausalFlash(0, 1), 5, 3)], ids=str)
def test_an_outline_holds_as_many_keys_as_are_useful_and_those_that_are_always_there(variant):
    tokens, rule, block = 83, variant.rule, variant.block
    ((sinks, between, window),) = variant.outline(HEADS[0], tokens).heads
    keys = sum((one.end_t - one.start_t) * one.share_t for one in (sinks, between, window))
    assert HEADS[0].n_heads * keys.sum() == pytest.approx(variant.useful(HEADS[0], tokens).pairs)
    for t in range(tokens):
        first = max(t // block - rule.window + 1, 0) * block
        assert (window.start_t[t], window.end_t[t], window.share_t[t]) == (first, t + 1, 1)
        assert (sinks.start_t[t], sinks.end_t[t], sinks.share_t[t]) == (0, min(rule.sinks * block, first), 1)


@pytest.mark.parametrize(
    "text", ["blocks(block=16, topk=7)", "blocks(block=97, topk=7)", "blocks(causal_antidiagonal, topk=3)"]
)
def test_as_many_choices_as_blocks_are_full_attention(text):
    """The same program."""
    variant, full = parse_variant(text), parse_variant("full")
    found, expected = (VariantCase(one, 97, HEADS[0], 0).run("blockwise", (97,)) for one in (variant, full))
    np.testing.assert_array_equal(found, expected)
    assert variant.executed(HEADS[0], 97) == full.executed(HEADS[0], 97)


@pytest.mark.parametrize("variant", [FLASH, ANTI], ids=str)
def test_slots_in_any_order_with_gaps_and_padded_queries(variant):
    """As rows of different lengths leave them."""
    rng, layer = np.random.default_rng(0), layer_input(variant, HEADS[0], 61)
    run = jax.jit(lambda layer: variant.attend(partial(attend, impl="blockwise"), layer).out_btnh)
    whole = run(layer)
    order = np.stack([rng.permutation(83) for _ in range(2)])  # slots 61.. are empty

    def shuffled(x, fill):
        padded = np.pad(np.asarray(x), [(0, 0), (0, 22)] + [(0, 0)] * (x.ndim - 2), constant_values=fill)
        return on_device(np.stack([row[at] for row, at in zip(padded, order, strict=True)]), x.dtype)

    position = np.broadcast_to(np.arange(61), (2, 61))
    mixed = layer._replace(
        k_bskh=shuffled(layer.k_bskh, 9.0),
        v_bskh=shuffled(layer.v_bskh, 9.0),
        kv_pos_bks=shuffled(on_device(position, np.int32), -1)[:, None],
        q_pos_bt=on_device(np.where(np.arange(61) < np.array([[50], [37]]), position, -1), np.int32),
    )
    out = np.asarray(run(mixed))
    for row, tokens in enumerate((50, 37)):
        chex.assert_trees_all_close(out[row, :tokens], np.asarray(whole[row, :tokens]), atol=1e-5)
        assert not out[row, tokens:].any()


def test_gradients_are_those_of_the_dense_form():
    layer = layer_input(FLASH, HEADS[0], 61)

    def loss(qkv, impl):
        q, k, v = qkv
        found = FLASH.attend(partial(attend, impl=impl), layer._replace(q_btnh=q, k_bskh=k, v_bskh=v))
        return (found.out_btnh**2).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    grads = [gradient((layer.q_btnh, layer.k_bskh, layer.v_bskh), impl) for impl in IMPLS]
    chex.assert_trees_all_close(*grads, atol=1e-4)


@pytest.mark.parametrize("rule", ["causal_flash", "causal_antidiagonal"])
def test_memory_is_linear_in_the_prompt(rule):
    def temp_bytes(tokens: int) -> int:
        _, (inputs, params) = case.kernel("blockwise", batch=1)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, tokens, *x.shape[2:]), x.dtype), inputs)
        kernel, _ = layer_kernel(case.config, variant, tokens, jnp.float32, inputs=shapes)
        return jax.jit(kernel).lower(shapes, params).compile(AS_USERS_DO).memory_analysis().temp_size_in_bytes

    variant = parse_variant(f"blocks({rule}, topk=4, sinks=1, window=2)")
    case = VariantCase(variant, 64, Heads(6, 2, 16, 11), 0)
    short, long = temp_bytes(8_192), temp_bytes(32_768)
    assert long < 4.2 * short and long < 32_768**2  # less than a byte a pair


def test_a_rule_of_ones_own_goes_into_a_layout():
    """The last key of a block stands for it."""

    @dataclass(frozen=True)
    class Last(BlockRule):
        name = "last"
        back: int = 1

        def per_block(self, block):
            return 1

        def compared(self, k_bkcsh):
            return k_bkcsh[None, :, :, :, -self.back, None]

    with BLOCK_RULES.temporarily():
        attention.register(Last)
        variant = parse_variant("blocks(last, block=4, topk=3, back=2)")
        assert variant == BlocksByRule(Last(1, 1, 2), 4, 3) and parse_variant(str(variant)) == variant
    q, k = jnp.ones((1, 1, 1, 2)), jnp.zeros((1, 1, 28, 2)).at[0, 0, 14].set(1.0)
    found = choose_blocks_by_rule(q, k, jnp.array([[25]]), BlockChoice(4, 3), variant.rule).chosen_jbtm
    assert found[:, 0, 0, 0].tolist() == [6, 0, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blocks(block=0)", "blocks: block must be at least 1, got 0"),
        ("blocks(topk=6)", "blocks: topk must be more than the 6 blocks of sinks and window, got 6"),
        ("blocks(sinks=-1)", "the rule causal_flash: sinks must be at least 0, got -1"),
        ("blocks(causal_antidiagonal, sinks=-1)", "the rule causal_antidiagonal: sinks must be at least 0, got -1"),
        ("blocks(window=0)", "the rule causal_flash: window must be at least 1, got 0"),
        ("blocks(causal_antidiagonal, stride=0)", "the rule causal_antidiagonal: stride must be at least 1, got 0"),
        ("blocks(causal_antidiagonal, 100)", "the rule causal_antidiagonal: stride 16 does not divide blocks of 100"),
        ("blocks(flash)", "no block rule 'flash'.*accepted: causal_flash, causal_antidiagonal"),
        ("blocks(stride=8)", "'stride' which it does not have"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_variant(text)


def test_a_rule_is_an_object():
    with pytest.raises(ValueError, match=r"blocks: rule is a rule such as CausalFlash\(\), got 'causal_flash'"):
        BlocksByRule("causal_flash")
