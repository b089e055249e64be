"""report.csv and documents.json hold the summary's own numbers, and hold the same."""

from __future__ import annotations

import csv
import json

import pytest

from eval.cost.cards import CARDS
from eval.report.report_files import write_report
from eval.report.run_facts import crossovers
from eval.report.tidy import KINDS
from tests.eval.report.synthetic_records import CONFIG, LAYOUTS, compared, record, summaries, synthetic_records

RECORDS = [*synthetic_records(), record("prefill", "full", 16_384, status="out-of-memory", error="no, <too> much")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("rows")
    command = "prefillwall compare --seed 7"
    write_report(out, compared(RECORDS), command=command, cards=[CARDS["r9700"]])
    return out


@pytest.fixture(scope="module")
def rows(folder):
    return json.loads((folder / "report.json").read_text())["rows"]


def value(rows, **wanted):
    (found,) = (row for row in rows if all(row[name] == one for name, one in wanted.items()))
    return found


def test_both_files_have_the_same_rows(folder, rows):
    with (folder / "report.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) > 300
    for one, other in zip(table, rows, strict=True):
        assert one.keys() == other.keys()
        for name, cell in one.items():
            text = "" if other[name] is None else str(other[name])
            assert cell == text or (cell == "inf" and "no upper bound" in other["note"])


def test_rows_are_the_summarys_numbers(rows):
    [summary] = summaries(RECORDS)
    for row in summary.results:
        here = {"layout": row.name, "tokens": row.tokens, "model": CONFIG.name}
        for part in ("whole", "linear", "attention"):
            ms = getattr(row, f"{part}_ms")
            if ms:
                found = value(rows, **here, part=part, quantity="time")
                assert (found["value"], found["low"], found["high"], found["unit"]) == (
                    ms.median,
                    ms.low,
                    ms.high,
                    "ms",
                )
        if row.useful:
            assert value(rows, **here, part="whole", quantity="useful FLOPs")["value"] == row.useful.whole
            assert value(rows, **here, part="attention", quantity="executed FLOPs")["value"] == row.executed.attention
        if row.attention_gain.realisation and row.name != "full":
            found = value(rows, **here, part="attention", quantity="realisation")
            assert found["value"] == row.attention_gain.realisation
        if row.quality:
            found = value(rows, **here, part="text", quantity="KL from full attention")
            assert (found["value"], found["unit"]) == (row.quality.kl_nats, "nat/token")
    measured, analytic = crossovers(summary)
    for layout in LAYOUTS:
        fitted = value(rows, layout=layout, quantity="crossover", kind="fitted")
        assert (fitted["value"], fitted["low"]) == (measured[layout].tokens, measured[layout].low)
        assert value(rows, layout=layout, quantity="crossover", kind="counted")["value"] == analytic[layout]


def test_every_row_says_its_kind_unit_and_convention(folder, rows):
    whole = json.loads((folder / "report.json").read_text())
    assert whole["invocation"] == "prefillwall compare --seed 7"
    assert whole["conventions"]["kinds"] == KINDS
    assert "Convention layers" in whole["conventions"]["layers"]
    assert {row["kind"] for row in rows} == set(KINDS)
    assert all(row["unit"] or row["kind"] == "failed" for row in rows)
    failed = value(rows, kind="failed")
    assert (failed["tokens"], failed["value"], failed["note"]) == (16_384, None, "out-of-memory: no, <too> much")


def test_predictions_lie_in_their_interval_above_their_floor(rows):
    predicted = [row for row in rows if row["kind"] == "predicted"]
    assert {row["layout"] for row in predicted} == set(LAYOUTS)
    for row in predicted:
        assert row["low"] <= row["value"] <= row["high"]
        same = {name: row[name] for name in ("layout", "tokens", "part", "model")}
        assert value(rows, kind="floor", **same)["value"] <= row["low"]
