"""Crossovers and break-evens against counts of every token, over drawn layouts on eleven shapes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from attention.cost import ONLY_LAYER, Cost, Depth, Heads
from attention.pattern import SpanPattern
from attention.sliding_window import SlidingWindow
from attention.variant import Variant
from eval.cost.break_even import break_even_tokens, break_evens
from eval.cost.crossover import attention_total, crossings, crossover_tokens, linear_params
from eval.cost.curves import AttentionCurve, attending_layers
from eval.cost.sign_changes import LONGEST_TOKENS, SignChanges, in_words
from refmodel.presets import preset
from tests.eval.cost.drawn_layouts import Draw, changes, prompt_flops, up_to

QWEN, SMALL = preset("qwen3-30b-a3b"), preset("smollm2-135m")


def agrees(found: SignChanges, above_n: np.ndarray) -> bool:
    return up_to(found.at, found.every_tokens, above_n.size) == changes(above_n)


def disagreements(seed: int, most: int) -> list[str]:
    """Of two drawn layouts, each at two costs of attention, and of the break-even between them."""
    draw, wrong = Draw(seed), []
    longest, models = draw.size(most), draw.models()
    counts, lengths = [prompt_flops(model, longest) for model in models], np.arange(1, longest + 1).astype(object)
    for model, flops_n in zip(models, counts, strict=True):
        per_token = 2 * linear_params(model)
        for cost in (draw.attention_cost(flops_n, per_token), Fraction(1)):
            above_n = flops_n.astype(object) * cost.numerator > per_token * cost.denominator * lengths
            if not agrees(crossings(model, attention_cost=cost), above_n.astype(bool)):
                wrong.append(f"{model.name} {model.layout_name} attention_cost={cost}")
    if not agrees(break_evens(*models), counts[0] > counts[1]):
        wrong.append(f"{models[0].name} {models[0].layout_name} against {models[1].layout_name}")
    return wrong


@pytest.mark.parametrize("tenth", range(10))
def test_they_are_those_of_brute_force(tenth: int) -> None:
    """200 layouts."""
    assert [wrong for seed in range(tenth, 100, 10) for wrong in disagreements(seed, 20_000)] == []


@pytest.mark.slow
@pytest.mark.parametrize("hundredth", range(100))
def test_they_are_those_of_brute_force_over_2000_layouts(hundredth: int) -> None:
    seeds = range(1000 + hundredth, 2000, 100)
    assert [wrong for seed in seeds for wrong in disagreements(seed, 200_000)] == []


@pytest.mark.parametrize("seed", range(30))
def test_what_curves_say_of_themselves(seed: int) -> None:
    """Totals and steps are brute force's; a convex function is as near as `ripple` says, and so is `course`."""
    longest = 4000
    for model in Draw(seed).models():
        curve = AttentionCurve(attending_layers(model))
        flops_n = np.append(0, prompt_flops(model, longest))
        assert [curve.total(n) for n in range(0, longest, 371)] == flops_n[:longest:371].tolist()
        assert (curve.by_token(5, longest - 5) == np.diff(flops_n)[5:]).all()
        if curve.is_nearly_convex:
            assert (flops_n - lower_hull(flops_n)).max() <= curve.ripple(longest)
        settled = curve.course.settled_tokens
        for n in range(settled, settled + 3000, 597):
            followed = sum(x * n**power for power, x in enumerate(curve.course.quadratic))
            assert abs(curve.total(n) - followed) <= curve.ripple(n)


def lower_hull(y_n: np.ndarray) -> np.ndarray:
    """The greatest convex function below the points (n, y_n), by Andrew's monotone chain."""
    hull: list[tuple[float, float]] = []
    for x, y in enumerate(y_n.tolist()):
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (y1 - y0) * (x - x1) < (y - y1) * (x1 - x0):
                break
            hull.pop()
        hull.append((x, y))
    x_h, y_h = np.array(hull).T
    return np.floor(np.interp(np.arange(y_n.size), x_h, y_h))


def test_the_first_of_several_crossings() -> None:
    """Keys fall at each event, so that attention falls back behind the linear layers."""
    found = crossings(QWEN.with_layout("evict(streaming, budget=4096, chunk=10000, sinks=0)"))
    assert found == SignChanges((19_702, 20_866, 24_830))
    assert (found.first, found.again, found.stays_from, found.count) == (19_702, (24_830,), 24_830, 2)
    found = crossings(QWEN.with_layout("evict(streaming, budget=1, chunk=14000, sinks=0)"))
    assert (found.first, found.count, found.stays_from) == (13_888, 30, 414_182)
    never = crossings(QWEN.with_layout("evict(streaming, budget=1024, chunk=4096, sinks=0)"))
    assert never == SignChanges() and never.first is never.stays_from is None and never.count == 0


@pytest.mark.parametrize(
    ("layout", "tokens"),
    [("swa(6945)", 24_113_041), ("moba(512)", 11_599_504), ("spans(0.0001N)", 68_810_000), ("swa(6944)", None)],
)
def test_far_crossings_are_exact(layout: str, tokens: int | None) -> None:
    model = QWEN.with_layout(layout)
    assert crossover_tokens(model) == tokens
    per_token = 2 * linear_params(model)
    if tokens:
        assert attention_total(model, tokens) > per_token * tokens
        assert attention_total(model, tokens - 1) <= per_token * (tokens - 1)


def test_two_layouts_that_take_turns_for_ever() -> None:
    """Both keep 11 keys on average, in chunks of 3 and of 5."""
    one, other = (SMALL.with_layout(f"evict(streaming, budget={b}, chunk={c})") for b, c in ((9, 3), (8, 5)))
    found = break_evens(one, other)
    flops = [prompt_flops(model, 1000) for model in (one, other)]
    assert found.every_tokens == 15 and found.first and agrees(found, flops[0] > flops[1])
    assert found.stays_from is found.count is break_even_tokens(one, other) is None
    assert in_words(found).endswith("and so on for ever, every 15 tokens")


def test_layers_that_both_have_make_no_difference() -> None:
    assert break_evens(SMALL, SMALL) == SignChanges()
    assert break_even_tokens(SMALL, SMALL.with_layout("2*full+swa(100)")) == 101


@dataclass(frozen=True)
class Rising(SlidingWindow):
    """A cost of its own: three times a window's, of which nothing but its counts is known."""

    name = "rising"

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        cost = super().useful(heads, tokens, start, depth)
        return cost._replace(pairs=3 * cost.pairs)


def test_a_variant_that_says_nothing_of_its_growth_is_searched_so_far() -> None:
    window, own = SMALL.with_layout("swa(2500)"), SMALL.with_layout([Rising(2500)] * 30)
    found = crossings(own)
    assert found.at == crossings(window, attention_cost=3).at and found.at
    assert found.searched_tokens == LONGEST_TOKENS and in_words(found) == "not known beyond 4,194,304"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (SignChanges(), ""),
        (SignChanges((7,)), ""),
        (SignChanges((7, 9)), "no more from 9"),
        (SignChanges((7, 9, 12)), "again and for good from 12"),
        (SignChanges((7, 9, 12, 13, 14, 15, 1500)), "again from 12 and 2 times more, for good from 1,500"),
        (SignChanges((7, 9, 12, 13)), "again from 12, no more from 13"),
        (SignChanges((7, 9), every_tokens=20), "and so on for ever, every 20 tokens"),
    ],
)
def test_in_words(found: SignChanges, words: str) -> None:
    assert in_words(found) == words


@dataclass(frozen=True)
class Half(Variant):
    """Somebody's own: a window of half of the sequence."""

    name = "half"
    tokens: int = 2

    def at_length(self, total_tokens: int) -> Half:
        return Half(total_tokens)

    def pattern(self) -> SpanPattern:
        return SpanPattern(span=(max(1, self.tokens // 2),))


def test_a_variant_that_depends_on_the_length_is_followed():
    model = SMALL.with_layout([Half()] * SMALL.n_layers)
    heads, n = SMALL.layers[0].heads, np.arange(1, 13_001)
    window_n = np.maximum(1, n // 2)
    pairs_n = window_n * (window_n + 1) // 2 + window_n * (n - window_n)
    flops_n = 4 * heads.head_dim * heads.n_heads * SMALL.n_layers * pairs_n
    assert [attention_total(model, m) for m in (1, 2, 7_001)] == flops_n[[0, 1, 7_000]].tolist()
    assert crossover_tokens(model) == int((flops_n > 2 * linear_params(model) * n).argmax()) + 1 > 6144
