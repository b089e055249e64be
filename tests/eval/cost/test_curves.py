"""How far a curve may lie below its chord: never less than it does."""

from __future__ import annotations

import pytest

from eval.cost.curves import AttentionCurve, attending_layers
from refmodel.presets import preset


@pytest.mark.parametrize("layout", ["full", "swa(11)", "swa(7,sinks=3)+full", "moba(block=5,topk=2)", "spans(0.3N)"])
@pytest.mark.parametrize(("low", "high"), [(16, 29), (37, 71), (100, 103)])
def test_no_length_lies_further_below_the_chord_than_is_said(layout: str, low: int, high: int) -> None:
    curve = AttentionCurve(attending_layers(preset("tiny-dense").with_layout(layout)))
    (first, last), most = (curve.total(n) for n in (low, high)), curve.sag(low, high)
    assert most is not None
    for n in range(low, high + 1):
        below = first * (high - n) + last * (n - low) - curve.total(n) * (high - low)
        assert below <= most * (high - low)


def test_an_interval_that_is_wider_than_what_comes_before_it_is_not_judged() -> None:
    curve = AttentionCurve(attending_layers(preset("tiny-dense")))
    assert curve.sag(16, 33) is None and curve.sag(17, 33) is not None
