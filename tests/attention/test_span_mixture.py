"""Spans per head: one per query head or per key-value head, and those that grow with the prompt."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.attend import attend
from attention.cost import Heads
from attention.layout import parse_variant
from attention.parameters import SpanRule
from attention.pattern import UNBOUNDED
from attention.span_mixture import SpanMixture
from tests.attention.dense_oracle import attend_masked
from tests.attention.layer_inputs import heads, layer_input

pytestmark = pytest.mark.usefixtures("fast_compile")

rules = st.one_of(
    st.builds(SpanRule, st.sampled_from((1, 5, 40, UNBOUNDED))),
    st.builds(SpanRule, st.integers(0, 20), st.sampled_from((Fraction(1, 4), Fraction(1, 8)))),
)


@st.composite
def problems(draw) -> tuple[SpanMixture, Heads, int, int]:
    shape = draw(heads)
    n_rules = draw(st.sampled_from((1, shape.n_kv_heads, shape.n_heads)))
    variant = SpanMixture(tuple(draw(st.lists(rules, min_size=n_rules, max_size=n_rules))), draw(st.integers(0, 30)))
    return variant, shape, draw(st.integers(1, 131)), draw(st.integers(0, 31))


def mask_by_hand(variant: SpanMixture, heads: Heads, tokens: int, start: int) -> np.ndarray:
    """[N, T, S] for a sequence of start + tokens."""
    total = start + tokens
    mask = np.zeros((heads.n_heads, tokens, total), bool)
    for n, t, j in np.ndindex(mask.shape):
        rule = variant.rules[n * len(variant.rules) // heads.n_heads]
        span = max(1, rule.keys + int(rule.share * total))
        mask[n, t, j] = j <= start + t and (start + t - j < span or j < variant.sinks)
    return mask


@settings(max_examples=6)
@given(problems())
def test_attention_is_dense_attention_under_its_mask(problem):
    variant, heads, tokens, start = problem
    variant.check(heads)
    layer, at_length = layer_input(variant, heads, tokens, start), variant.at_length(start + tokens)
    expected, _ = attend_masked(*layer[1:4], mask_by_hand(*problem)[None])
    out = jax.jit(lambda layer: at_length.attend(partial(attend, impl="blockwise"), layer).out_btnh)(layer)
    chex.assert_trees_all_close(out, expected, atol=2e-5, rtol=0)


@settings(max_examples=10)
@given(problems())
def test_useful_pairs_are_the_masks_sum_and_what_runs_is_no_less(problem):
    variant, heads, tokens, start = problem
    variant = variant.at_length(start + tokens)
    pairs = variant.useful(heads, tokens, start).pairs
    assert pairs == mask_by_hand(*problem).sum()
    assert variant.executed(heads, tokens, start, impl="blockwise").pairs >= pairs


def test_one_rule_is_a_window_and_a_share_of_all_is_full_attention():
    heads = Heads(6, 2, 8)
    window, spans = parse_variant("swa(13, sinks=3)"), parse_variant("spans(13|13, sinks=3)")
    assert window.useful(heads, 101) == spans.useful(heads, 101)
    assert parse_variant("spans(1N)").at_length(101).useful(heads, 101) == parse_variant("full").useful(heads, 101)
    assert parse_variant("spans(64+0.25N|full)").at_length(400) == parse_variant("spans(164|full)")
    assert parse_variant("spans(5|full)").limiting_flops(heads) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parse_variant("spans(0)"), r"spans: a span must be at least 1 key \(the query's own\), got 0"),
        (lambda: parse_variant("spans(5, sinks=-1)"), "sinks must be at least 0 keys, got -1"),
        (lambda: parse_variant("spans(5, 6, 7)"), "'7' which it does not have"),
        (lambda: parse_variant("spans(0.25M)"), r"rules must be spans like 256\|64"),
        (lambda: parse_variant("spans(0.25N)").pattern(), "depends on the length of the sequence"),
        (
            lambda: parse_variant("spans(1|2|3|4)").check(Heads(6, 2, 8)),
            r"4 spans for 6 query heads; accepted: 1, 2 \(one per key-value head\) or 6",
        ),
    ],
)
def test_bad_parameters_are_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
