"""The atlas measured: what is kept, what is compared, and what is said of a model that cannot be timed."""

from __future__ import annotations

import json

import pytest

from eval.cli import main
from eval.measure.records import file
from eval.report.atlas_measured import Measured, measured_place
from eval.report.crossover_fit import Crossover
from refmodel.presets import PRESETS, preset

pytestmark = pytest.mark.usefixtures("fast_compile")


def test_the_error_is_that_of_the_count():
    assert Measured("one", 300, Crossover(tokens=400.0, low=1.0, high=2.0)).error == pytest.approx(-0.25)
    for there_is_none in (Measured("one", None, Crossover(tokens=400.0)), Measured("one", 300, Crossover(), "why")):
        assert there_is_none.error is None


def test_a_model_of_another_shape_than_the_preset_of_its_name_is_not_taken_for_it(tmp_path):
    found = measured_place(preset("tiny-dense").with_layout("swa(5)"), 5, tmp_path, [7])
    assert found.timed is None and "it is no preset" in found.reason and not list(tmp_path.iterdir())


def test_a_model_that_does_not_run_is_a_reason(tmp_path):
    model = preset("nemotron-3-nano-30b-a3b")
    assert measured_place(model, 5, tmp_path, [7]) == Measured(model.name, 5, None, model.cannot_run)
    assert not list(tmp_path.iterdir())
    too_large = measured_place(preset("qwen3-235b-a22b"), 5, tmp_path, [7])
    assert too_large.timed is None and "GB of weights" in too_large.reason


@pytest.mark.parametrize("own", ["full", "swa(5)+full", "hybrid"])
def test_what_is_timed_is_the_models_own_layout(own, tmp_path, monkeypatch, capsys):
    """Beside full attention where that is another; a hybrid's own layout is what full attention leaves of it."""
    monkeypatch.chdir(tmp_path)
    model = preset("tiny-hybrid" if own == "hybrid" else "tiny-dense")
    model = model if own == "hybrid" else model.with_layout(own)
    monkeypatch.setattr("refmodel.presets.PRESETS", presets := {**PRESETS, model.name: model})
    for module in ("eval.report.atlas_measured", "eval.commands.resolve", "refmodel.checkpoint.find"):
        monkeypatch.setattr(f"{module}.PRESETS", presets, raising=False)
    words = ["atlas", "--measure", "--models", model.name, "--tokens", "23", "41", "--device", "cpu", "--json"]
    assert main(words) == 0
    (measured,) = json.loads(capsys.readouterr().out)["measured"]
    assert measured["model"] == model.name and measured["reason"] and measured["measured_tokens"] is None
    kept = file.read(tmp_path / "out" / "atlas" / model.name / "records.jsonl")
    timed = {record.layout for record in kept if record.kind == "prefill"}
    assert timed == ({"full"} if own == "hybrid" else {"full", own})
    assert {record.tokens for record in kept} == {23, 41} and all(record.status == "ok" for record in kept)
    assert {record.run.invocation for record in kept} == {" ".join(["prefillwall", *words[:-1]])}
    if own == "full":
        assert main([*words[:-1], "--resume"]) == 0
        printed = capsys.readouterr().out
        assert "tiny-dense: " in printed and "N* of times" in printed
