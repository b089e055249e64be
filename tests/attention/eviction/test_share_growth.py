"""What is said of the growth of a share's cost, against counts of every prompt, token by token."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention.cost import Depth
from attention.eviction.policy import Retention
from attention.eviction.registry import POLICIES
from eval.cost.break_even import break_evens
from eval.cost.crossover import attention_total, crossings, limiting_share, linear_params
from eval.cost.curves import AttentionCurve, attending_layers
from refmodel.presets import preset
from tests.eval.cost.drawn_layouts import changes, prompt_flops, up_to
from tests.eval.cost.test_sign_changes import lower_hull

MODEL, LONGEST = preset("tiny-dense"), 701

LAYOUTS = (
    "evict(snapkv, budget=0.5, chunk=61, recent=7)",
    "evict(h2o, budget=1/3, chunk=29, sinks=1)",
    "evict(expected_attention, budget=0.9, chunk=83)",
    "evict(tova, budget=0.02, chunk=17, sinks=3)",
    "evict(pyramidkv, budget=0.53, chunk=37, recent=5)",
    "evict(pyramidkv, budget=10/19, chunk=41, recent=1, sinks=0)",
    "3*evict(adakv, budget=0.25, chunk=53, recent=3)+swa(31)",
    "evict_after(h2o, budget=0.97)",
    "evict_after(pyramidkv, budget=0.53, recent=13, sinks=1)",
    "evict_after(pyramidkv, budget=10/19, recent=1, sinks=0)",
    "evict_after(pyramidkv, budget=0.3, recent=2)",
)
"""Layers of a pyramid whose budget grows more slowly than the prompt, faster, and as fast."""


@functools.cache
def counted(layout: str) -> np.ndarray:
    return prompt_flops(MODEL.with_layout(layout), LONGEST)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_as_near_to_a_convex_function_and_falls_as_little_as_is_said(layout):
    curve, flops_n = AttentionCurve(attending_layers(MODEL.with_layout(layout))), np.append(0, counted(layout))
    assert [curve.total(n) for n in range(LONGEST)] == flops_n[:LONGEST].tolist()
    assert (curve.by_token(5, LONGEST - 5) == np.diff(flops_n)[5:]).all()
    assert (flops_n - lower_hull(flops_n)).max() <= curve.ripple(LONGEST)
    fallen_n = np.maximum.accumulate(flops_n) - flops_n
    assert all(fallen <= curve.fall(n) for n, fallen in enumerate(fallen_n.tolist()))
    settled, period = curve.course.settled_tokens, curve.course.period_tokens
    for n in (settled, settled + 97, settled + period // 3, settled + 5 * period + 11):
        followed = sum(x * n**power for power, x in enumerate(curve.course.quadratic))
        assert abs(curve.total(n) - followed) <= curve.ripple(n)


def test_some_fall():
    falling = {layout for layout in LAYOUTS if (np.diff(counted(layout)) < 0).any()}
    assert {LAYOUTS[2], "evict_after(pyramidkv, budget=0.53, recent=13, sinks=1)"} <= falling


@pytest.mark.parametrize("near", [67, 307])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_crossings_are_those_of_brute_force(layout, near):
    model, flops_n, n = MODEL.with_layout(layout), counted(layout), np.arange(1, LONGEST + 1).astype(object)
    per_token = 2 * linear_params(MODEL)
    cost = Fraction(per_token * near, int(flops_n[near - 1]))  # it crosses there
    above_n = (flops_n.astype(object) * cost.numerator > per_token * cost.denominator * n).astype(bool)
    found = crossings(model, attention_cost=cost)
    assert up_to(found.at, found.every_tokens, LONGEST) == changes(above_n) != []
    full = MODEL.with_layout("full")
    cheaper = break_evens(full, model)
    assert up_to(cheaper.at, cheaper.every_tokens, LONGEST) == changes(prompt_flops(full, LONGEST) > flops_n)
    assert limiting_share(model) == 1


def test_a_small_share_grows_without_limit_all_the_same():
    model = MODEL.with_layout("evict(streaming, budget=0.01, chunk=512)")
    assert model.layout[0].limiting_flops(model.layers[0].heads) is None
    far = crossings(model, attention_cost=0.1).at[-1]
    per_token = 20 * linear_params(model)
    assert attention_total(model, far - 1) <= per_token * (far - 1) and attention_total(model, far) > per_token * far


@pytest.mark.parametrize("form", ["evict(pyramidkv, budget={}, chunk=67)", "evict_after(pyramidkv, budget={})"])
@pytest.mark.parametrize("budget", ["1/1024", "1023/1024"])
def test_the_least_and_the_most_share_have_crossovers(form, budget):
    model = MODEL.with_layout(form.format(budget))
    at, per_token = crossings(model).at, 2 * linear_params(model)
    for n in at:
        assert (attention_total(model, n - 1) > per_token * (n - 1)) is not (attention_total(model, n) > per_token * n)
    assert len(at) % 2  # for good


@given(st.sampled_from(sorted(POLICIES)), st.integers(300, 5000), st.integers(1, 13))
def test_layers_budgets_rise_in_proportion_after_so_many_keys(policy, budget, n_layers):
    kind = POLICIES[policy]()
    told = [Retention(budget + i * kind.budget_steps(n_layers), 2, 7) for i in range(3)]
    for layer in range(n_layers):
        first, second, third = (kind.layer_budget(one, Depth(layer, n_layers)) for one in told)
        assert third - second == second - first
