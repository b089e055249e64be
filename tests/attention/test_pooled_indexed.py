"""Groups of keys that an index chooses: the choice and the attention against the definition, and counts."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attention.kernels.index_choice import choose_groups_by_index
from attention.layout import parse_variant
from attention.pooled_indexed import PooledIndexed
from eval.testing import assert_causal, assert_flops_agree, assert_matches_dense
from eval.testing.variant_case import VariantCase
from tests.attention.growth_oracle import off_quadratic
from tests.attention.index_by_hand import qsa_mask
from tests.attention.test_token_indexed import HEADS, IMPLS, heads
from tests.operands import on_device

pytestmark = pytest.mark.usefixtures("fast_compile")


@st.composite
def variants(draw) -> PooledIndexed:
    pool = draw(st.integers(1, 7))
    return PooledIndexed(
        pool * draw(st.integers(1, 9)), pool, draw(st.integers(1, 5)), draw(st.sampled_from((2, 6, 22)))
    )


@settings(max_examples=3)
@given(variants(), heads, st.integers(8, 113), st.integers(0, 99), st.sampled_from(IMPLS))
@example(PooledIndexed(12, 3, 2, 6), HEADS[0], 97, 0, "blockwise")
@example(PooledIndexed(20, 4, 3, 22), HEADS[3], 97, 0, "dense")
@example(PooledIndexed(93, 3, 2, 6), HEADS[2], 97, 0, "blockwise")  # a group more than may be chosen
def test_a_prompt_in_any_steps_is_dense_attention_under_the_mask(variant, heads, tokens, seed, impl):
    mask = partial(qsa_mask, variant)
    assert_matches_dense(variant, mask=mask, tokens=tokens, heads=heads, seed=seed, impl=impl)


@settings(max_examples=4)
@given(variants(), heads, st.integers(8, 113))
def test_counts_are_those_of_what_runs(variant, heads, tokens):
    for impl in IMPLS:
        assert_flops_agree(variant, tokens=tokens, heads=heads, impl=impl)


@pytest.mark.parametrize("impl", IMPLS)
def test_no_bit_comes_from_the_future(impl):
    assert_causal(PooledIndexed(12, 3, 2, 6), tokens=67, heads=HEADS[0], impl=impl)


@settings(max_examples=8)
@given(variants(), heads, st.integers(1, 53), st.integers(0, 43))
def test_useful_are_the_masks_pairs_and_the_groups_that_the_index_has_to_look_at(variant, heads, tokens, start):
    useful, (n, dim, most) = variant.useful(heads, tokens, start), (variant.heads, variant.dim, variant.groups)
    pairs, flops = 0, 2 * heads.d_model * dim * tokens
    for end in range(start + 1, start + tokens + 1):
        whole, behind = divmod(end, variant.pool)
        pairs += heads.n_heads * (min(whole, most) * variant.pool + behind)
        flops += (whole > most) * 2 * n * dim * (heads.d_model + whole)
    assert useful == (pairs, flops, 0)


@pytest.mark.parametrize(("budget", "pool"), [(4, 4), (21, 3), (5, 1), (22, 11)])
def test_what_tokens_cost_and_how_a_prompt_grows(budget, pool):
    variant, heads = PooledIndexed(budget, pool, 2, 6), HEADS[0]
    each, found = variant.token_flops(heads, 0, 40 * pool + budget), variant.growth(heads)
    for tokens in (1, 8, 29):
        assert each[3 : 3 + tokens].sum() == variant.useful(heads, tokens, 3).flops(heads)
    whole, settled = np.cumsum(each), found.settled_tokens
    assert (found.period_tokens, settled) == (pool, budget + pool - 1) and variant.limiting_flops(heads) is None
    assert not np.diff(whole[pool:] - whole[:-pool], 2)[settled - 1 :].any()
    _, off = off_quadratic(each, found)
    assert off <= found.ripple_flops and (pool == 1 or found.ripple_flops < 20 * off)
    one, other = variant.outline(heads, 43).heads[0]
    keys = sum((part.end_t - part.start_t) * part.share_t for part in (one, other))
    assert heads.n_heads * keys.sum() == pytest.approx(variant.useful(heads, 43).pairs)


def test_as_many_choices_as_groups_are_full_attention():
    variant, full = PooledIndexed(96, 4, 3, 6), parse_variant("full")
    found, expected = (VariantCase(one, 99, HEADS[0], 0).run("blockwise", (99,)) for one in (variant, full))
    np.testing.assert_array_equal(found, expected)
    assert variant.executed(HEADS[0], 99) == full.executed(HEADS[0], 99)._replace(selection_flops=99 * 2 * 11 * 6)


@pytest.mark.parametrize("queries", [1, 11, 1000])
def test_few_queries_at_a_time_choose_the_same(monkeypatch, queries):
    """Where no product is above 0 all scores are 0, and the earlier of equals wins."""
    rng = np.random.default_rng(0)
    q, k = on_device(rng.normal(size=(2, 61, 3, 6))), on_device(rng.normal(size=(2, 21, 6)))
    q = q.at[0, 50].set(0.0)
    monkeypatch.setattr("attention.kernels.index_choice.SCORES_BYTES", queries * 4 * 2 * 3 * 21)
    found = choose_groups_by_index(q, k, jnp.arange(61)[None], 3, 4)
    assert found.chosen_btj[0, 50, :12].tolist() == list(range(12))
    score = np.maximum(np.einsum("bthd,bcd->bthc", q, k), 0).sum(2)
    for b, t in np.ndindex(2, 61):
        whole = (t + 1) // 3
        best = np.argsort(-score[b, t, :whole], kind="stable")[:4]
        inside = [3 * group + i for group in best for i in range(3)]
        behind = list(range(3 * whole, t + 1))
        expected = inside + [-1] * (12 - len(inside)) + behind + [-1] * (2 - len(behind))
        assert found.chosen_btj[b, t].tolist() == expected
    assert found.topk == 14


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qsa(0)", "qsa: budget must be a multiple of pool 4, got 0"),
        ("qsa(9, pool=2)", "qsa: budget must be a multiple of pool 2, got 9"),
        ("qsa(pool=0)", "qsa: pool must be at least 1, got 0"),
        ("qsa(heads=0)", "qsa: heads must be at least 1, got 0"),
        ("qsa(dim=7)", "qsa: dim must be even, for rotary positions, and at least 2, got 7"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_variant(text)
