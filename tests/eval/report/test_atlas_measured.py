"""The atlas measured: what is kept, what is compared, and what is said of a model that cannot be timed."""

from __future__ import annotations

import json

import pytest

from eval.cli import main
from eval.measure.records import file
from eval.report.atlas_measured import Measured, measured_place
from eval.report.crossover_fit import Crossover
from refmodel.presets import preset

pytestmark = pytest.mark.usefixtures("fast_compile")


def test_the_error_is_that_of_the_count():
    assert Measured("one", 300, Crossover(tokens=400.0, low=1.0, high=2.0)).error == pytest.approx(-0.25)
    for there_is_none in (Measured("one", None, Crossover(tokens=400.0)), Measured("one", 300, Crossover(), "why")):
        assert there_is_none.error is None


def test_a_model_that_does_not_run_is_a_reason(tmp_path):
    model = preset("nemotron-3-nano-30b-a3b")
    assert measured_place(model, 5, tmp_path, [7]) == Measured(model.name, 5, None, model.cannot_run)
    assert not list(tmp_path.iterdir())
    too_large = measured_place(preset("qwen3-235b-a22b"), 5, tmp_path, [7])
    assert too_large.timed is None and "GB of weights" in too_large.reason


def test_records_are_those_of_the_models_own_layout(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["atlas", "--measure", "--models", "tiny-dense", "--tokens", "23", "41", "--device", "cpu", "--json"]
    assert main(words) == 0
    (measured,) = json.loads(capsys.readouterr().out)["measured"]
    assert measured["model"] == "tiny-dense" and measured["reason"] and measured["measured_tokens"] is None
    kept = file.read(tmp_path / "out" / "atlas" / "tiny-dense" / "records.jsonl")
    assert {record.layout for record in kept if record.layout} == {"full"}
    assert {record.tokens for record in kept} == {23, 41} and all(record.status == "ok" for record in kept)
    assert main([*words[:-1], "--resume"]) == 0
    printed = capsys.readouterr().out
    assert "tiny-dense: " in printed and "N* of times" in printed
