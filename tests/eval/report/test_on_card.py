"""The measured model on another card: the floor is the roofline's, and what is predicted rests on published rates."""

from __future__ import annotations

import dataclasses

import pytest

from eval.cost.cards import CARDS
from eval.cost.roofline import Assumptions, floor_ms
from eval.measure.named_layout import named_layouts
from eval.report.on_card import on_card
from refmodel.presets import preset

MODEL = preset("qwen3-30b-a3b")


def test_floor_is_the_rooflines_and_weights_are_stored_so_that_they_fit():
    found = on_card(MODEL, named_layouts(["swa(1024)"], MODEL.n_layers), CARDS["r9700"])
    assert found.under.storage.weights == "4.5bit" and "weights of 4.5 bit (17.2 GB): the 61.1 GB" in found.floor.note
    lengths = ("1,024", "2,048", "4,096", "8,192", "16,384", "32,768", "65,536")
    assert found.floor.header[1:] == tuple(f"{length} tokens" for length in lengths)
    by_layout = {row[0]: row[1:] for row in found.floor.rows}
    assert list(by_layout) == ["linear layers", "full", "swa(1024)"]
    short, ms = (floor_ms(MODEL, n, CARDS["r9700"], found.under) for n in (1024, 65_536))
    assert by_layout["linear layers"][0] == f"{sum(short.values()) - short['attention'] - short['head']:.1f} ms"
    linear = sum(ms.values()) - ms["attention"] - ms["head"]
    share = ms["attention"] / (ms["attention"] + linear)
    assert by_layout["linear layers"][-1] == f"{linear / 1e3:.2f} s"
    assert by_layout["full"][-1] == f"{ms['attention'] / 1e3:.2f} s ({100 * share:.1f} %)"
    assert f"adds {short['head']:.3f} ms" in found.floor.note
    assert "peak (191 TFLOP/s, bf16) and bytes over bandwidth (640 GB/s)" in found.floor.note
    small = on_card(preset("smollm2-135m"), (), CARDS["r9700"])
    assert small.under == Assumptions() and "weights in bf16 (269 MB)" in small.floor.note


def test_only_a_card_with_published_rates_has_a_prediction():
    layouts = named_layouts(["swa(1024)"], MODEL.n_layers)
    with_rates, without = (on_card(MODEL, layouts, CARDS[name]) for name in ("r9700", "h200"))
    assert without.predicted == without.evidence == ()
    assert [(one.layout, one.tokens) for one in with_rates.predicted] == [
        (layout.name, tokens) for layout in layouts for tokens in (16_384, 65_536)
    ]
    for one in with_rates.predicted:
        assert one.floor_ms <= one.total_ms("low") <= one.total_ms("middle") <= one.total_ms("high")
        assert 0 < one.attention_ms < one.total_ms("middle")


def test_a_card_without_what_a_floor_takes_says_so():
    lacking = dataclasses.replace(CARDS["r9700"], figures={})
    with pytest.raises(ValueError, match="card r9700 has no figure"):
        on_card(MODEL, (), lacking)
