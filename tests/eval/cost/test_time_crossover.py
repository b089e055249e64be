"""The crossover by time: its closed form where compute binds and where weights are read, and rates that a card has."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.cost.atlas import roofline_crossover
from eval.cost.cards import Card, SourcedValue, card
from eval.cost.crossover import crossings
from eval.cost.flops.formats import Storage
from eval.cost.flops.traffic import steps_bytes
from eval.cost.roofline import Assumptions, floors
from eval.cost.time_crossover import USUAL_RATES, Rates, rates_of, time_crossovers
from refmodel.decoder import decoder
from refmodel.presets import preset
from refmodel.schedule import prefill_steps

QWEN, R9700 = preset("qwen3-30b-a3b"), card("r9700")
BF16, FP8_LINEAR, FP8_ATTENTION, BOTH = USUAL_RATES


def made_card(bandwidth_bytes_per_s: float, **peaks: float) -> Card:
    peak = {dtype: SourcedValue(rate, "made up for a test") for dtype, rate in peaks.items()}
    return Card("made", "made", peak, {"bandwidth_bytes_per_s": SourcedValue(bandwidth_bytes_per_s, "made up")})


def compute_bound_tokens(model, linear_rate: Fraction, attention_rate: Fraction) -> int:
    """Full attention asks for 2·H·N·L · n(n + 1) FLOPs and the linear layers for 2·P·n: attention takes longer from

    n + 1 > (P / (H·N·L)) · (attention rate / linear rate)    on, so from the whole part of the right side.
    """
    of_attention = model.head_dim * model.n_heads * model.n_layers
    return math.floor(Fraction(model.linear_macs, of_attention) * attention_rate / linear_rate)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 900), st.integers(1, 9))
def test_where_compute_binds_the_ratio_of_the_rates_moves_it(linear: int, attention: int, width: int, layers: int):
    model = decoder("small", layers, 40, 5, 1, 8, 101, d_ff=width)
    fast = made_card(1e30, bf16=1e9 * linear, fp8=1e9 * attention)
    expected = compute_bound_tokens(model, Fraction(linear), Fraction(attention))
    (found,) = time_crossovers(model, fast, Storage("4.5bit", "4bit"), [Rates("bf16", "fp8")]).values()
    assert found == max(expected, 1)
    assert found == crossings(model, attention_cost=Fraction(linear, attention)).first


def test_rates_of_8_bits_halve_and_double_it() -> None:
    """In bf16 it is N* by FLOPs; the weights of 4.5 bits are read in less time than they are multiplied in."""
    found = time_crossovers(QWEN, R9700, Storage("int4"), USUAL_RATES)
    whole = Fraction(QWEN.linear_macs, QWEN.head_dim * QWEN.n_heads * QWEN.n_layers)
    assert [found[one] for one in (BF16, FP8_LINEAR, FP8_ATTENTION, BOTH)] == [
        math.floor(whole * times) for times in (1, Fraction(1, 2), 2, 1)
    ] == [13_888, 6_944, 27_776, 13_888]  # fmt: skip


def test_weights_that_take_longer_to_read_hold_it_up() -> None:
    """Of bf16 at the rate of fp8 the experts are read longer than they are computed at 7,000 tokens.  Then with

        a n(n + 1) = s n + c,    a = 2·H·N·L / rate,    s = 2·(P - experts) / (2·rate),    c = bytes / bandwidth

    the crossover is the first n above the positive root.
    """
    bf16 = R9700.peak_flops_per_s()
    experts = sum(row.macs_per_token for layer in QWEN.layers for row in layer.products if row.component == "experts")
    a = 2 * QWEN.head_dim * QWEN.n_heads * QWEN.n_layers / bf16
    s = 2 * (QWEN.linear_macs - experts) / (2 * bf16)
    c = steps_bytes(QWEN, prefill_steps(7_000))["experts"] / R9700.bandwidth_bytes_per_s
    root = ((s - a) + math.sqrt((s - a) ** 2 + 4 * a * c)) / (2 * a)
    (found,) = time_crossovers(QWEN, R9700, Storage("bf16"), [FP8_LINEAR]).values()
    assert found == math.ceil(root) == 7_910
    at = floors(QWEN, prefill_steps(found), R9700, Assumptions(products="fp8"))
    assert at["experts"].memory_ms > at["experts"].compute_ms


@pytest.mark.parametrize("layout", ["full", "5*swa(1024)+full", "swa(1024)", "routed(64|full)"])
def test_without_a_word_of_rates_nothing_changes(layout: str) -> None:
    model = QWEN.with_layout(layout)
    assert time_crossovers(model, R9700, Storage(), [Rates()]) == {Rates(): roofline_crossover(model, R9700)}


def test_only_what_attends_runs_at_attentions_rate() -> None:
    steps, routed = prefill_steps(20_000), QWEN.with_layout("routed(64|full)")
    plain, fast = (floors(routed, steps, R9700, Assumptions(attention_dtype=one)) for one in ("bf16", "fp8"))
    linear = floors(routed, steps, R9700, Assumptions(products="fp8"))
    assert {"attention", "selection", "experts", "head"} < set(plain)
    for name, one in plain.items():
        changed, same = (fast, linear) if name in ("attention", "selection") else (linear, fast)
        assert changed[name].compute_ms == one.compute_ms / 2 and same[name].compute_ms == one.compute_ms


def test_of_a_card_without_8_bits_only_what_it_has() -> None:
    plain = made_card(1e12, bf16=1e14)
    assert rates_of(plain) == ((BF16,), ("fp8",))
    assert rates_of(R9700, Rates("int8")) == ((Rates("int8"), *USUAL_RATES), ())
    assert rates_of(R9700, BOTH) == ((BOTH, BF16, FP8_LINEAR, FP8_ATTENTION), ())
    with pytest.raises(ValueError, match=r"card made has no peak rate for int8; it has bf16\. Give one"):
        rates_of(plain, Rates("int8"))


@pytest.mark.parametrize("name", ["r9700", "rx-9070-xt", "h100-sxm", "h200"])
def test_8_bits_run_at_twice_the_rate(name: str) -> None:
    one = card(name)
    for dtype in ("fp8", "int8"):
        assert one.peak_flops_per_s(dtype) == pytest.approx(2 * one.peak_flops_per_s(), rel=1e-3)
