"""Keys that an index chooses one by one: the choice and the attention against the definition, and counts."""

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
from attention.chosen import ChosenTokens, TokenChoice
from attention.cost import Heads
from attention.kernels.index_choice import choose_tokens_by_index
from attention.layout import parse_variant
from attention.token_indexed import TokenIndexed
from eval.measure.layer_program import layer_kernel
from eval.testing import assert_causal, assert_flops_agree, assert_matches_dense
from eval.testing.variant_case import VariantCase
from tests.attention.dense_oracle import attend_masked
from tests.attention.index_by_hand import dsa_mask
from tests.compiling import AS_USERS_DO
from tests.operands import on_device

pytestmark = pytest.mark.usefixtures("fast_compile")
HEADS = (Heads(6, 2, 10, 11), Heads(3, 3, 14, 13), Heads(5, 1, 8, 3), Heads(9, 3, 4, 17))
IMPLS = ("blockwise", "dense")
heads = st.sampled_from(HEADS)
variants = st.builds(TokenIndexed, st.integers(1, 31), st.integers(1, 5), st.sampled_from((2, 6, 22)))


@settings(max_examples=3)
@given(variants, heads, st.integers(8, 113), st.integers(0, 99), st.sampled_from(IMPLS))
@example(TokenIndexed(17, 3, 6), HEADS[0], 97, 0, "blockwise")
@example(TokenIndexed(17, 3, 22), HEADS[3], 97, 0, "dense")
def test_a_prompt_in_any_steps_is_dense_attention_under_the_mask(variant, heads, tokens, seed, impl):
    mask = partial(dsa_mask, variant)
    assert_matches_dense(variant, mask=mask, tokens=tokens, heads=heads, seed=seed, impl=impl)


@settings(max_examples=4)
@given(variants, heads, st.integers(8, 113))
def test_counts_are_those_of_what_runs(variant, heads, tokens):
    for impl in IMPLS:
        assert_flops_agree(variant, tokens=tokens, heads=heads, impl=impl)


@pytest.mark.parametrize("impl", IMPLS)
def test_no_bit_comes_from_the_future(impl):
    assert_causal(TokenIndexed(17, 3, 6), tokens=67, heads=HEADS[0], impl=impl)


@settings(max_examples=8)
@given(variants, heads, st.integers(1, 53), st.integers(0, 43))
def test_useful_are_the_masks_pairs_and_the_keys_that_the_index_has_to_look_at(variant, heads, tokens, start):
    useful, (n, h, dim) = variant.useful(heads, tokens, start), (variant.heads, heads.n_heads, variant.dim)
    seen = [position + 1 for position in range(start, start + tokens)]
    assert useful.pairs == h * sum(min(keys, variant.k) for keys in seen)
    asked = [2 * heads.d_model * n * (dim + 1) + 2 * n * dim * keys for keys in seen if keys > variant.k]
    assert useful.selection_flops == 2 * heads.d_model * dim * tokens + sum(asked)


@pytest.mark.parametrize("k", [1, 7])
def test_what_tokens_cost_adds_up_to_what_a_prompt_does(k):
    variant, heads = TokenIndexed(k, 3, 6), HEADS[0]
    each, found = variant.token_flops(heads, 0, 43), variant.growth(heads)
    for tokens in (1, 8, 29):
        assert each[3 : 3 + tokens].sum() == variant.useful(heads, tokens, 3).flops(heads)
    whole = np.cumsum(each)
    assert (found.period_tokens, found.settled_tokens, found.ripple_flops) == (1, k, 0)
    assert not np.diff(whole[k - 1 :], 3).any() and variant.limiting_flops(heads) is None
    keys = variant.outline(heads, 43).heads[0][0]
    pairs = heads.n_heads * ((keys.end_t - keys.start_t) * keys.share_t).sum()
    assert pairs == pytest.approx(variant.useful(heads, 43).pairs)


def test_as_many_choices_as_keys_are_full_attention():
    variant, full = TokenIndexed(97, 3, 6), parse_variant("full")
    found, expected = (VariantCase(one, 97, HEADS[0], 0).run("blockwise", (97,)) for one in (variant, full))
    np.testing.assert_array_equal(found, expected)
    assert variant.executed(HEADS[0], 97) == full.executed(HEADS[0], 97)._replace(selection_flops=97 * 2 * 11 * 6)


def test_of_equal_scores_the_earlier_key_wins():
    """Where no product is above 0 all scores are 0."""
    q, weight = jnp.ones((1, 1, 2, 4)), jnp.ones((1, 1, 2))
    k = -jnp.ones((1, 40, 4)).at[:, 20:22].set(-2.0)
    found = choose_tokens_by_index(q, weight, k, jnp.array([[37]]), TokenChoice(4))
    assert found.chosen_btj[0, 0].tolist() == [20, 21, 0, 1]


@pytest.mark.parametrize("queries", [1, 11, 1000])
def test_few_queries_at_a_time_choose_and_see_the_same(monkeypatch, queries):
    rng = np.random.default_rng(0)
    q, weight, k = (on_device(rng.normal(size=shape)) for shape in ((2, 61, 3, 6), (2, 61, 3), (2, 61, 6)))
    place = jnp.arange(61)[None]
    monkeypatch.setattr("attention.kernels.index_choice.SCORES_BYTES", queries * 4 * 2 * 3 * 61)
    monkeypatch.setattr("attention.kernels.chosen_tokens.GATHERED_BYTES", queries * 2 * 2 * 7 * 2 * 10 * 4)
    chosen = choose_tokens_by_index(q, weight, k, place, TokenChoice(7))
    score = (np.maximum(np.einsum("bthd,bsd->bths", q, k) / 6**0.5, 0) * np.asarray(weight)[..., None]).sum(2)
    for b, t in np.ndindex(2, 61):
        best = np.argsort(-score[b, t, : t + 1], kind="stable")[:7].tolist()
        assert chosen.chosen_btj[b, t].tolist() == best + [-1] * (7 - len(best))
    operands = *(on_device(rng.normal(size=(2, 61, n, 10))) for n in (6, 2, 2)), place, place[None]
    runs = [attend(*operands, chosen, impl=impl, need_lse=True) for impl in IMPLS]
    chex.assert_trees_all_close(*((run.out_btnh, run.lse_bnt) for run in runs), atol=2e-5)
    assert [int(run.visited) for run in runs] == [2 * 6 * 61 * 7, 2 * 6 * 61 * 61]


@pytest.mark.parametrize("impl", IMPLS)
def test_slots_in_any_order_with_gaps_and_padded_queries(impl):
    """As rows of different lengths leave them."""
    rng, slots = np.random.default_rng(0), 37
    q, k, v = (rng.normal(size=(2, slots, n, 10)) for n in (6, 2, 2))
    chosen = rng.permuted(np.broadcast_to(np.arange(slots), (2, slots, slots)), axis=2)[..., :9]
    chosen[:, :, :2] = -1
    order = np.stack([rng.permutation(slots + 11) for _ in range(2)])
    place = np.broadcast_to(np.arange(slots), (2, slots))

    def shuffled(x, fill):
        padded = np.pad(x, [(0, 0), (0, 11)] + [(0, 0)] * (x.ndim - 2), constant_values=fill)
        return np.stack([row[at] for row, at in zip(padded, order, strict=True)])

    kv_pos, q_pos = shuffled(place, -1)[:, None], np.where(place < 30, place, -1)
    mask = (chosen[..., None] == place[:, None, None]).any(2) & (place[:, None] <= place[..., None])
    expected, _ = attend_masked(
        *map(on_device, (q, k, v)), jnp.asarray(np.broadcast_to(mask[:, None], (2, 6, slots, slots)))
    )
    pattern = ChosenTokens(9, jnp.asarray(chosen, jnp.int32))
    operands = *map(on_device, (q, shuffled(k, 9.0), shuffled(v, 9.0))), jnp.asarray(q_pos), jnp.asarray(kv_pos)
    out = attend(*operands, pattern, impl=impl).out_btnh
    chex.assert_trees_all_close(out[:, :30], expected[:, :30], atol=2e-5)
    assert not np.asarray(out[:, 30:]).any()


def test_a_choice_that_does_not_fit_is_refused():
    x, place = jnp.ones((2, 5, 2, 4)), jnp.arange(5)
    wrong = ChosenTokens(3, jnp.zeros((2, 4, 3), jnp.int32))
    with pytest.raises(ValueError, match=r"chosen keys must be .*\[2, 5\].*, got \(2, 4, 3\) and slots \(1, 1, 5\)"):
        attend(x, x, x, place[None], place[None, None], wrong)
    pattern = ChosenTokens(3, jnp.zeros((1, 5, 3), jnp.int32))
    with pytest.raises(ValueError, match="slots the same for all heads"):
        attend(x, x, x, place[None], jnp.zeros((1, 2, 5), jnp.int32), pattern)
    assert attend(x, x, x, place[None], place[None, None], pattern).out_btnh.shape == x.shape
    for chosen, said in (
        (jnp.zeros((1, 5), jnp.int32), r"chosen keys must be \[B or 1, T, choices\], got int32\[1, 5\]"),
        (jnp.zeros((1, 5, 3)), "chosen keys must be int32, got float32"),
        (jnp.zeros((1, 5, 3), jnp.int8), "chosen keys must be int32, got int8"),
        (jnp.zeros((1, 5, 0), jnp.int32), r"with at least one choice, got \(1, 5, 0\)"),
    ):
        with pytest.raises(ValueError, match=said):
            attend(x, x, x, place[None], place[None, None], ChosenTokens(3, chosen))
    with pytest.raises(ValueError, match=r"keys that are chosen already are wanted, ChosenTokens, got TokenChoice\("):
        attend(x, x, x, place[None], place[None, None], TokenChoice(3))
    with pytest.raises(ValueError, match="keys that a query chooses must be a whole number of at least 1, got 0"):
        TokenChoice(0)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_choice_behind_the_last_slot_is_none(impl):
    x, place = on_device(np.random.default_rng(0).normal(size=(1, 5, 2, 4))), jnp.arange(5)[None]
    late = place.at[0, 4].set(7)  # whom a key at 5 would be seen by
    expected, *others = (
        attend(x, x, x, late, place[None], ChosenTokens(3, jnp.broadcast_to(jnp.asarray(chosen), (1, 5, 3))), impl=impl)
        for chosen in ([0, 1, -1], [0, 1, 5], [0, 1, -3])
    )
    for found in others:
        chex.assert_trees_all_close(found.out_btnh, expected.out_btnh)


def test_memory_is_linear_in_the_prompt():
    def temp_bytes(tokens: int) -> int:
        _, (inputs, params) = case.kernel("blockwise", batch=1)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, tokens, *x.shape[2:]), x.dtype), inputs)
        kernel, _ = layer_kernel(case.config, variant, tokens, jnp.float32, inputs=shapes)
        return jax.jit(kernel).lower(shapes, params).compile(AS_USERS_DO).memory_analysis().temp_size_in_bytes

    variant = TokenIndexed(256, 4, 16)
    case = VariantCase(variant, 64, Heads(6, 2, 16, 11), 0)
    short, long = temp_bytes(8_192), temp_bytes(32_768)
    assert long < 4.2 * short and long < 32_768**2  # less than a byte a pair


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dsa(0)", "dsa: k must be at least 1, got 0"),
        ("dsa(heads=0)", "dsa: heads must be at least 1, got 0"),
        ("dsa(dim=7)", "dsa: dim must be even, for rotary positions, and at least 2, got 7"),
        ("dsa(2048, topk=3)", r"'topk' which it does not have"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_variant(text)
