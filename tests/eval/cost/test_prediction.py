"""Predictions: above the floor, bounded by what a compiled loop can reach, and called predictions."""

from __future__ import annotations

import pytest

from eval.cost.cards import card
from eval.cost.prediction import evidence_lines, predict_prefill, published_efficiencies
from eval.cost.roofline import Assumptions, floor_ms
from refmodel.presets import preset

R9700 = card("r9700")
MODEL = preset("qwen3-30b-a3b").with_layout("5*swa(1024)+full")


def test_intervals_lie_above_the_floor_and_in_order() -> None:
    under = Assumptions()
    floors = floor_ms(MODEL, 16_384, R9700, under)
    predicted = predict_prefill(MODEL, 16_384, R9700, under, {})
    assert {one.component for one in predicted} == set(floors)
    for one in predicted:
        assert one.floor_ms == pytest.approx(floors[one.component])
        assert one.floor_ms <= one.ms.low <= one.ms.middle <= one.ms.high
        assert "published prefills" in one.evidence
        assert one.to_json()["label"] == "predicted"


def test_a_compiled_loop_bounds_the_prediction() -> None:
    free, bound = (
        {one.component: one for one in predict_prefill(MODEL, 16_384, R9700, Assumptions(), bounds)}
        for bounds in ({}, {"attention": 0.125})
    )
    attention = bound["attention"]
    assert attention.ms.low == pytest.approx(attention.floor_ms / 0.125)
    assert attention.ms.low > free["attention"].ms.low
    assert "at most 12 % of peak" in attention.evidence
    assert bound["experts"] == free["experts"]


def test_what_memory_bounds_takes_the_bandwidth_that_was_measured() -> None:
    """A prompt of one token reads each weight for one product."""
    of_peak = R9700.measured["bandwidth_bytes_per_s"].value / R9700.bandwidth_bytes_per_s
    for one in predict_prefill(MODEL, 1, R9700, Assumptions(), {}):
        if one.component in ("experts", "head"):
            assert of_peak < 1 and one.ms.low == one.ms.high == pytest.approx(one.floor_ms / of_peak)


def test_efficiencies_come_from_measurements() -> None:
    spread = published_efficiencies(R9700)
    for found, _ in spread.values():
        assert 0 < found.low <= found.middle <= found.high <= 1
    with pytest.raises(ValueError, match=r"no peak rate|too few published"):
        published_efficiencies(card("tpu-v5e"))


def test_components_of_one_evidence_share_a_line() -> None:
    predicted = predict_prefill(MODEL, 4096, R9700, Assumptions(), {})
    lines = evidence_lines(predicted)
    assert len(lines) < len(predicted) and any(line.startswith("attention: ") for line in lines)
