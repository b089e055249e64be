"""What the page says of a card that was asked for, against the predictions and the published rates themselves."""

from __future__ import annotations

import math
import statistics
from types import SimpleNamespace

import pytest

from eval.cost.cards import CARDS
from eval.cost.prediction import predict_prefill
from eval.cost.published import published
from eval.cost.validation import validate
from eval.measure.named_layout import named_layouts
from eval.report import on_card
from eval.report.number_format import duration
from eval.report.page import prediction
from eval.report.page.figure import Context
from eval.report.page.series import all_series
from refmodel.presets import preset

MODEL, CARD = preset("qwen3-30b-a3b"), CARDS["r9700"]
LAYOUTS = named_layouts(["swa(1024)", "moba(512,topk=4)"], MODEL.n_layers)


@pytest.fixture(scope="module")
def of():
    """Resting on a few of the published rates: all of them take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_card, "_evidence", lambda: tuple(validate(published()[::64], schemes=on_card.EVIDENCE)))
        return on_card.on_card(MODEL, LAYOUTS, CARD)


@pytest.fixture(scope="module")
def wanted(of):
    """Of each layout and length: floor, low, middle, high, attention, all in ms, summed over components."""
    found = {}
    for layout in LAYOUTS:
        for tokens in (16_384, 65_536):
            parts = predict_prefill(MODEL.with_layout(layout.variants), tokens, CARD, of.under, {})
            times = [(one.floor_ms, one.ms.low, one.ms.middle, one.ms.high) for one in parts]
            choosing = [one.ms.middle for one in parts if one.component in ("attention", "selection")]
            found[layout.name, tokens] = (*(math.fsum(each) for each in zip(*times, strict=True)), math.fsum(choosing))
    assert len({one[-1] for one in found.values()}) == len(found)
    return found


def test_the_table_has_the_sums_of_the_components(of, wanted):
    table = prediction.prediction_table(of.predicted)
    assert table.header == ("layout", "tokens", "floor", "from", "predicted", "to", "attention", "share")
    assert table.rows == tuple(
        (layout, f"{tokens:,}", *map(duration, times), f"{100 * times[4] / times[2]:.1f} %")
        for (layout, tokens), times in wanted.items()
    )


def test_the_figure_has_a_dot_for_each_at_its_times(of, wanted, monkeypatch):
    drawn = {}
    monkeypatch.setattr(prediction, "dot_panel", lambda title, dots, *_: drawn.setdefault(title, dots) and "")
    series = all_series(layout.name for layout in LAYOUTS)
    context = Context(SimpleNamespace(config=MODEL), {}, {}, series, ["prefillwall compare --model mine"])
    figure = prediction.prediction_figure(context, of)
    assert list(drawn) == ["16,384 tokens", "65,536 tokens"]
    for (name, tokens), (floor, low, middle, high, attention) in wanted.items():
        (dot,) = (one for one in drawn[f"{tokens:,} tokens"] if one.series == series[name])
        assert (dot.floor_ms, dot.low, dot.ms, dot.high) == pytest.approx((floor, low, middle, high))
        assert dot.tip == (
            f"predicted {duration(middle)}, {duration(low)} to {duration(high)}", f"floor {duration(floor)}",
            f"attention {duration(attention)}, {100 * attention / middle:.1f} %",
        )  # fmt: skip
    assert all(len(dots) == len(LAYOUTS) for dots in drawn.values())
    assert "qwen3-30b-a3b, weights of 4.5 bit, bf16 arithmetic" in figure.note
    assert figure.related[0] == "prefillwall lower --model mine --layout 'swa(1024)' --tokens 16384"


def test_the_evidence_is_the_errors_of_published_rates(of):
    rows = prediction.evidence_table(of.evidence).rows
    assert {row[1] for row in rows} == set(on_card.EVIDENCE)
    for family, scheme, number, unknown, error, covered in rows:
        made = [one for one in of.evidence if (one.row.family, one.scheme) == (family, scheme)]
        known = [abs(one.error) for one in made if one.known]
        assert (number, unknown) == (f"{len(made):,}", f"{len(made) - len(known):,}")
        assert error == (f"{100 * statistics.median(known):.1f} %" if known else "-")
        assert covered == f"{100 * sum(one.covered for one in made) / len(made):.1f} %"
