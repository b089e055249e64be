"""A budget that is a share of the prompt: how it is written, and the keys that it becomes."""

from __future__ import annotations

import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention.cost import Heads
from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.eviction.registry import POLICIES
from attention.layout import make, parse_variant

SHARES = st.fractions(Fraction(1, 1024), Fraction(1023, 1024), max_denominator=10**6)
FORMS = st.sampled_from([(form, name) for form in (Evict, EvictAfter) for name in sorted(POLICIES)])


@given(FORMS, SHARES)
def test_a_share_reads_back_as_it_is_written(form, share):
    kind, name = form
    variant = kind(POLICIES[name](), budget=share)
    assert parse_variant(str(variant)) == variant and variant.share == share


def test_decimals_are_what_they_say():
    variants = [parse_variant("evict(snapkv, budget=.1)"), make("evict", policy="snapkv", budget=0.1)]
    variants += [Evict(POLICIES["snapkv"](), np.float64(0.1)), Evict(POLICIES["snapkv"](), Fraction(1, 10))]
    assert {str(one) for one in variants} == {"evict(snapkv, budget=0.1)"} and len(set(variants)) == 1
    assert {str(make("evict", policy="knorm", budget=x)) for x in (0.002, 2e-3, "2e-3", "0.2e-02", ".002")} == {
        "evict(knorm, budget=0.002)"
    }
    assert variants[0].at_length(700).budget == 70  # a float's product is 70.00000000000001
    assert Evict(POLICIES["knorm"](), np.int64(7)).share is None


@given(FORMS, SHARES, st.integers(1, 10**7))
def test_so_many_keys_stay(form, share, tokens):
    kind, name = form
    variant = kind(POLICIES[name](), budget=share)
    least, found = variant.at_length(1).budget, variant.at_length(tokens)
    assert found.budget == max(math.floor(share * tokens), least) >= found.policy.reserved(found.retention)
    assert variant.policy.reserved(variant._told(least - 1)) > least - 1 or least == 1
    assert found.at_length(2 * tokens) == found


def test_the_prompt_decides_not_what_comes_after_it():
    evict, after = (make(name, policy="knorm", budget=0.25, sinks=2) for name in ("evict", "evict_after"))
    assert evict.after_prompt(40).at_length(1000) == make("evict", policy="knorm", budget=10, sinks=2)
    assert after.after_prompt(40) == make("evict_after", policy="knorm", budget=10, sinks=2, prompt=40)
    told = make("evict_after", policy="knorm", budget=0.25, sinks=2, prompt=48)
    assert told.at_length(1000).budget == told.after_prompt(1000).budget == 12
    assert [after.after_prompt(n).held(n) for n in (1, 2, 7, 8, 400)] == [1, 2, 2, 2, 100]


@pytest.mark.parametrize(
    "budget", ["1.0", "0.0", "5/3", "1/0", "0/7", "-0.5", "1e3", "1e-1000", "20e-1", "0e-3", "0.5N", "half"]
)
def test_what_is_no_share_is_refused_in_one_line(budget):
    with pytest.raises(ValueError, match=r"budget must be a whole number, or a share of the prompt below 1 such") as no:
        parse_variant(f"evict(knorm, budget={budget})")
    assert "\n" not in str(no.value)


@pytest.mark.parametrize("budget", [0, -3, 1.0, 1.5, 0.0, -0.25, math.nan, math.inf, Fraction(7), "0.5", None])
def test_so_is_what_is_no_budget(budget):
    with pytest.raises(ValueError, match=r"^evict_after\(knorm\): budget must be at least 1 key, or a share of the"):
        EvictAfter(POLICIES["knorm"](), budget)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("0.0009", "0.0009"),
        ("1/1025", "1/1025"),
        (".0000000000000000001", "0.0000000000000000001"),
        ("0.9991", "0.9991"),
        ("0.00005", "0.00005"),
    ],
)
def test_so_is_a_share_of_next_to_nothing_or_of_nearly_all(text, got):
    readers = [
        lambda: parse_variant(f"evict(knorm, budget={text})"), lambda: Evict(POLICIES["knorm"](), Fraction(text)),
        lambda: make("evict", policy="knorm", budget=float(Fraction(text)) if "/" not in text else Fraction(text)),
    ]  # fmt: skip
    for read in readers:
        with pytest.raises(ValueError) as no:
            read()
        wanted = "budget must be at least 1 key, or a share of the prompt from 1/1024 to 1023/1024"
        assert str(no.value) == f"evict(knorm): {wanted}, got {got}"


def test_what_no_prompt_makes_right_is_refused_at_once():
    with pytest.raises(ValueError, match="reads the newest 32 queries, more than a chunk of 31"):
        parse_variant("evict(snapkv, budget=0.5, chunk=31)")


@pytest.mark.parametrize("text", ["evict(knorm, budget=0.5)", "evict_after(knorm, budget=0.5)"])
def test_without_a_prompt_nothing_is_known(text):
    variant, heads = parse_variant(text), Heads(6, 2, 4)
    unknown = [
        lambda: variant.init_state(heads, 1, 101, jnp.float32), lambda: variant.layer_budgets(3),
        lambda: variant.useful(heads, 101, 101),
    ]  # fmt: skip
    for ask in unknown:
        with pytest.raises(ValueError, match=r"whose length is not known: take it `at_length\(prompt_tokens\)` first"):
            ask()
    assert not variant.differs_by_depth(5) and parse_variant("evict(pyramidkv, budget=0.5)").differs_by_depth(5)
