"""`prefillwall compare` and `report`: what they write where, what a second run finds."""

from __future__ import annotations

import json
import shlex

import pytest

import eval.measure.sweep
from eval.cli import main
from eval.measure.records import json_lines
from tests.eval.report import synthetic_records

TINY = ["compare", "--model", "tiny-dense", "--layouts", "swa(16)", "--tokens", "32", "64"]


def test_compare_leaves_records_and_a_report_and_never_overwrites(tmp_path, capsys, fast_compile):
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "report.md").read_text().count("swa(16)") > 3
    assert json.loads((tmp_path / "report.json").read_text())["invocation"] == shlex.join(
        ["prefillwall", *TINY, "--out", str(tmp_path)]
    )
    assert f"report: {tmp_path / 'report.md'}" in capsys.readouterr().out
    first = (tmp_path / "records.jsonl").read_bytes()
    assert main([*TINY, "--out", str(tmp_path), "--resume", "--json"]) == 0
    assert (tmp_path / "records.jsonl").read_bytes() == first
    record = json.loads(capsys.readouterr().out)
    assert {(row["layout"], row["tokens"]) for row in record["rows"]} == {
        (layout, tokens) for layout in ("full", "swa(16)") for tokens in (32, 64)
    }
    assert main([*TINY, "--out", str(tmp_path), "--tokens", "32"]) == 0
    assert [path.read_bytes() for path in tmp_path.glob("records.2*.jsonl")] == [first]


@pytest.mark.slow
def test_a_report_is_drawn_again_from_records_alone(tmp_path, capsys, fast_compile):
    """Of the run before, into a folder of its own, and never over other records."""
    common = ["compare", "--model", "tiny-dense", "--tokens", "32", "--out", str(tmp_path)]
    for layout in ("swa(16)", "swa(7)"):
        assert main([*common, "--layouts", layout]) == 0
    (aside,) = tmp_path.glob("records.2*.jsonl")
    assert f"kept as {aside};" in (said := capsys.readouterr()).err and "kept as" not in said.out
    assert "swa(16)" not in (tmp_path / "report.md").read_text()
    assert main(["report", str(aside)]) == 0
    drawn = aside.with_suffix("") / "report.md"
    assert f"report: {drawn}" in capsys.readouterr().out and "swa(16)" in drawn.read_text()
    assert drawn.with_name("records.jsonl").read_bytes() == aside.read_bytes()
    assert "swa(16)" not in (tmp_path / "report.md").read_text()
    assert main(["report", str(aside), "--out", str(tmp_path)]) == 2
    assert "holds other records" in capsys.readouterr().err
    (tmp_path / "report.html").unlink()
    assert main(["report", str(tmp_path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {row["layout"] for row in record["rows"]} == {"full", "swa(7)"} and (tmp_path / "report.html").exists()
    for text, layout, drew in (
        ((tmp_path / "report.md").read_text(), "swa(7)", ["report", str(tmp_path), "--json"]),
        (drawn.read_text(), "swa(16)", ["report", str(aside)]),
    ):
        measured = shlex.join(["prefillwall", *common, "--layouts", layout])
        assert f"{measured}\n{shlex.join(['prefillwall', *drew])}\n" in text


@pytest.mark.parametrize(("kind", "layout"), [("prefill_against_transformers", "full"), ("prefill", "7*ful")])
def test_a_report_that_cannot_be_drawn_leaves_nothing(kind, layout, tmp_path, capsys):
    json_lines.append(
        tmp_path / "other.jsonl", synthetic_records.record("prefill", "full", 5) | {"kind": kind, "layout": layout}
    )
    assert main(["report", str(tmp_path / "other.jsonl")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["other.jsonl"]


def test_the_plan_is_made_once_and_told_before_anything_is_measured(tmp_path, capsys, monkeypatch):
    planned, plan = [], eval.measure.sweep.plan
    monkeypatch.setattr(eval.measure.sweep, "plan", lambda sweep: planned.append(sweep) or plan(sweep))

    def measure(*_):
        said = capsys.readouterr().out
        assert "\nabout " in said and "GFLOP/s of a matrix product just now\nagain where samples spread by" in said
        raise KeyboardInterrupt

    monkeypatch.setattr(eval.measure.sweep, "MEASURES", dict.fromkeys(eval.measure.sweep.MEASURES, measure))
    assert main([*TINY, "--out", str(tmp_path)]) == 130 and len(planned) == 1
    assert not (tmp_path / "records.jsonl").exists()


def test_a_run_that_lacks_nothing_says_so(tmp_path, capsys, fast_compile):
    assert main([*TINY, "--out", str(tmp_path)]) == 0
    assert "GFLOP/s of a matrix product just now" in capsys.readouterr().out
    assert main([*TINY, "--out", str(tmp_path), "--resume"]) == 0
    assert "nothing is missing\nrecords: " in (said := capsys.readouterr().out) and "GFLOP/s of a" not in said


def test_resuming_another_model_or_a_foreign_file_is_refused_before_anything_runs(tmp_path, capsys):
    json_lines.append(tmp_path / "records.jsonl", synthetic_records.record("prefill", "full", 5, model="other"))
    assert main([*TINY, "--out", str(tmp_path), "--resume"]) == 2
    assert "holds records of model 'other', this run's is 'tiny-dense'" in capsys.readouterr().err
    (tmp_path / "records.jsonl").write_text('{"kind": "prefill_against_transformers"}\n')
    assert main([*TINY, "--out", str(tmp_path), "--resume"]) == 2
    assert "records.jsonl:1 is not a record of a comparison: no model" in capsys.readouterr().err
