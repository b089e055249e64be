"""Crossovers against the known values and against brute force."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.cost.break_even import break_even_tokens
from eval.cost.crossover import attention_share, attention_total, crossover_tokens, limiting_share, linear_params
from eval.cost.flops.closed_form import linear_flops, prefill_flops
from refmodel.presets import PRESETS, preset

QWEN = preset("qwen3-30b-a3b")


@pytest.mark.parametrize(
    ("convention", "half_square", "square"),
    [("layers", 13_888, 6_944), ("layers+head", 15_471, 7_735), ("active-headline", 16_785, 8_392),
     ("layers+head+embed", 17_053, 8_527)],
)  # fmt: skip
def test_smooth_conventions(convention: str, half_square: int, square: int) -> None:
    assert crossover_tokens(QWEN, convention, "half-square") == half_square
    assert crossover_tokens(QWEN, convention, "square") == square


@pytest.mark.parametrize(
    ("layout", "tokens"),
    [("full", 13_888), ("full+swa(4096)", 20_406), ("full+swa(128)", 27_520), ("full+5*swa(4096)", 44_262),
     ("full+3*swa(1024)", 49_471), ("5*swa(1024)+full", 73_159), ("swa(4096)", None), ("swa(1024)", None)],
)  # fmt: skip
def test_exact_crossovers_per_layout(layout: str, tokens: int | None) -> None:
    assert crossover_tokens(QWEN.with_layout(layout)) == tokens


def test_limits_and_the_posts_second_model() -> None:
    assert round(limiting_share(QWEN.with_layout("swa(1024)")), 3) == 0.129
    assert round(limiting_share(QWEN.with_layout("swa(4096)")), 3) == 0.371
    assert limiting_share(QWEN) == limiting_share(QWEN.with_layout("swa(9)"), pairs="square") == 1
    assert crossover_tokens(PRESETS["post-35b-a3b"], "active-headline", "half-square") == 12_589


@pytest.mark.parametrize("name", ["tiny-dense", "tiny-moe"])
@pytest.mark.parametrize(
    "layout", ["full", "swa(300)", "swa(70)", "swa(3)+full", "swa(200,sinks=90)", "3*swa(11)+full", "swa(500)+swa(3)"]
)
def test_the_first_length_at_which_attention_exceeds_linear(name: str, layout: str) -> None:
    model = preset(name).with_layout(layout)

    def exceeds(n: int) -> bool:
        flops = prefill_flops(model, n)
        return flops["attention"] > linear_flops(flops)

    assert crossover_tokens(model) == next((n for n in range(1, 1500) if exceeds(n)), None)


@given(st.integers(1, 3000), st.sampled_from(["full", "swa(70)", "swa(3, sinks=5)+full"]))
def test_share_and_its_bound(tokens: int, layout: str) -> None:
    model = preset("tiny-moe").with_layout(layout)
    flops = prefill_flops(model, tokens)
    assert attention_total(model, tokens) == flops["attention"]
    assert attention_share(model, tokens) == pytest.approx(
        flops["attention"] / (flops["attention"] + linear_flops(flops))
    )
    assert attention_share(model, tokens) <= limiting_share(model)


LAYOUTS = (
    "full",
    "swa(9)",
    "swa(40)",
    "swa(7,sinks=30)",
    "swa(5)+full",
    "2*swa(31)+2*full",
    "3*swa(60)+full",
    "swa(100)+swa(2)",
)


def test_break_even_is_where_the_last_sign_change_is() -> None:
    models = [preset("tiny-dense").with_layout(layout) for layout in LAYOUTS]
    totals_mn = [[attention_total(model, n) for n in range(600)] for model in models]
    for (one, dear_n), (other, cheap_n) in product(zip(models, totals_mn, strict=True), repeat=2):
        saves = [dear > cheap for dear, cheap in zip(dear_n, cheap_n, strict=True)]
        expected = None if not saves[-1] else len(saves) - saves[::-1].index(False)
        assert break_even_tokens(one, other) == expected


def test_a_faster_card_moves_nothing_and_unequal_efficiencies_do() -> None:
    assert crossover_tokens(QWEN, attention_cost=1) == 13_888
    assert crossover_tokens(QWEN, attention_cost=2) == 6_944
    assert crossover_tokens(QWEN.with_layout("swa(1024)"), attention_cost=10) is not None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_params(QWEN, "all"), "accepted: layers, layers.head"),
        (lambda: linear_params(preset("llama3-8b"), "active-headline"), "use --convention layers"),
        (lambda: attention_total(QWEN, 5, "half"), "accepted: causal, half-square, square"),
        (lambda: attention_share(QWEN, 0), "at least 1 token, got 0"),
        (lambda: crossover_tokens(QWEN, attention_cost=0), "above 0"),
    ],
)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("layout", "never", "limit"),
    [
        ("moba(512,topk=1)", True, None),
        ("spans(0.0001N)", False, 1.0),
        ("evict(h2o,budget=1024,chunk=64)", True, None),
        ("routed(256|full,router=periodic)", False, 1.0),
    ],
)
def test_variants_that_are_more_than_a_window_have_an_answer(layout, never, limit):
    model = preset("qwen3-30b-a3b").with_layout(layout)
    assert (crossover_tokens(model) is None) == never
    share = limiting_share(model)
    assert share == limit if limit else 0 < share < 0.5
    assert break_even_tokens(preset("qwen3-30b-a3b"), model) >= 1


def test_smooth_pairs_are_for_windows():
    with pytest.raises(ValueError, match="needs --pairs causal"):
        crossover_tokens(preset("qwen3-30b-a3b").with_layout("moba(512)"), pairs="half-square")
