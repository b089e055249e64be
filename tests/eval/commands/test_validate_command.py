"""`prefillwall validate`: what it prints of published rates, of a table of the user's own, and of kept records."""

from __future__ import annotations

import json
import statistics
from importlib import resources
from pathlib import Path

import pytest

from eval.cli import main

pytestmark = pytest.mark.usefixtures("fast_compile")


def test_validate_prints_medians_of_errors_and_what_is_not_known(capsys) -> None:
    arguments = ["validate", "--leave-out", "long rows of a model"]
    assert main([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert main([*arguments, "--all"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for one in record["summary"]:
        rows = [row for row in record["predictions"] if row["family"] == one["family"]]
        errors = [abs(row["error"]) for row in rows if row["known"]]
        covered = [row["low_tokens_per_s"] <= row["tokens_per_s"] <= row["high_tokens_per_s"] for row in rows]
        assert (one["count"], one["unknown"]) == (len(rows), len(rows) - len(errors))
        assert one["median_error"] == statistics.median(errors) and one["coverage"] == statistics.fmean(covered)
        assert f"{one['family']} {one['count']} {one['unknown']} {one['median_error']:.1%}" in printed
        assert one["verdict"] == ("fits" if one["median_error"] < 0.05 else "does not fit")
    assert "I don't know" in printed


def test_validate_predicts_a_table_of_the_users_own_from_the_packaged_rows(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    text = (resources.files("eval.cost.data") / "r9700_published.csv").read_text(encoding="utf-8").splitlines()
    mine = [line for line in text[1:] if "Ministral-3-8B" in line and "rocm-7.9__fa1" in line]
    assert len(mine) == 2
    (tmp_path / "mine.csv").write_text("\n".join([text[0], *(line.replace("rocm-7.9", "rocm-8") for line in mine)]))
    found = {}
    for alone in ([], ["--alone"]):
        assert main(["validate", "--data", "mine.csv", "--json", *alone]) == 0
        found[bool(alone)] = json.loads(capsys.readouterr().out)["predictions"]
    assert {one["left_out"] for one in found[False]} >= {"row", "table"}
    by_table = [one for one in found[False] if one["left_out"] == "table"]
    inside = [one["low_tokens_per_s"] <= one["tokens_per_s"] <= one["high_tokens_per_s"] for one in by_table]
    assert inside == [True, True] and all("of its model and weights" in one["rests_on"] for one in by_table)
    assert not any(one["known"] for one in found[True]) and "table" not in {one["left_out"] for one in found[True]}
    assert main(["validate", "--leave-out", "table"]) == 2
    assert "--leave-out table predicts the rows of --data: give a CSV file" in capsys.readouterr().err


def test_validate_predicts_kept_records_and_another_model(capsys) -> None:
    folder = str(Path(__file__).parents[3] / "eval" / "results" / "h100-other-layouts")
    arguments = ["validate", "--records", folder, "--model", "qwen3-4b"]
    assert main([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {one["left_out"] for one in record["summary"]} == {"record", "length", "layout"}
    assert [one["measured_ms"] for one in record["another_model"]] == [None, None]
    assert main([*arguments, "--all"]) == 0
    printed = capsys.readouterr().out
    assert "no record here tests it" in printed and f"{record['predictions'][0]['measured_ms']:,.1f} ms" in printed
    assert main(["validate", "--model", "qwen3-4b"]) == 2
    assert "--model is predicted from --records" in capsys.readouterr().err


def test_validate_predicts_each_model_of_several_folders_from_the_others(capsys) -> None:
    atlas = Path(__file__).parents[3] / "eval" / "results" / "h200-atlas"
    folders = [str(atlas / name) for name in ("qwen3-0.6b", "qwen3-1.7b")]
    assert main(["validate", "--records", *folders, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["records"], record["models"]) == (folders, ["qwen3-0.6b", "qwen3-1.7b"])
    (of_models,) = [one for one in record["summary"] if one["left_out"] == "model"]
    made = [one for one in record["predictions"] if one["left_out"] == "model"]
    assert of_models["rows"] == len(made) == 10
    assert of_models["unknown"] == sum(not one["known"] for one in made)
    known = [one for one in made if one["known"]]
    within = sum(one["low_ms"] <= one["measured_ms"] <= one["high_ms"] for one in known)
    assert main(["validate", "--records", *folders, "--model", "qwen3-4b"]) == 0
    printed = capsys.readouterr().out
    told = f"{len(known)} of 10 rows get an answer, {within} of them within its interval: {of_models['verdict']}"
    assert told in printed and record["of_another_model"] in printed
    assert (record["card"], "on H200 SXM" in printed) == ("h200", True)
