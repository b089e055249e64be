"""One entry is a column everywhere."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from eval.report import tables
from eval.report.layout_result import LayoutResult
from eval.report.metrics import METRICS, TABLES, Metric
from eval.report.number_format import number
from eval.report.report_files import write_report
from eval.report.tables import TIME
from eval.report.terminal import render_terminal
from tests.eval.report.synthetic_records import compared, summaries, synthetic_records, whole_ms


def us_per_token(result: LayoutResult) -> float | None:
    return 1e3 * result.whole_ms.median / result.tokens if result.whole_ms else None


PACE = Metric("us_per_token", us_per_token, "whole", "pace", "measured", "us", table="Time", title="us/token",
              show=number)  # fmt: skip


def test_a_metric_from_outside_is_in_every_output(tmp_path):
    found = compared(synthetic_records())
    known = found.rows()
    console = Console(width=160, file=io.StringIO())
    with METRICS.temporarily(PACE):
        write_report(tmp_path, found, command="prefillwall compare")
        render_terminal(found, console)
        rows = found.rows()
    ms = whole_ms("swa(1024)", 8192)
    pace = 1e3 * ms / 8192
    for before, row in zip(known, rows, strict=True):
        assert row == before | {"us_per_token": row["us_per_token"]}
    assert [row["us_per_token"] for row in rows if (row["layout"], row["tokens"]) == ("swa(1024)", 8192)] == [pace]
    for text in (console.file.getvalue(), *((tmp_path / f"report.{kind}").read_text() for kind in ("md", "html"))):
        assert "us/token" in text and number(pace) in text
    with (tmp_path / "report.csv").open() as file:
        table = list(csv.DictReader(file))
    for numbers in (table, json.loads((tmp_path / "report.json").read_text())["rows"]):
        cell = [one for one in numbers if one["quantity"] == "pace" and one["layout"] == "swa(1024)"][-1]
        assert (float(cell["value"]), cell["unit"], cell["kind"]) == (pace, "us", "measured")
    assert found.rows() == known  # and it is gone


def test_tokens_per_second_are_the_prompt_over_its_median_time():
    rows = compared(synthetic_records()).rows()
    timed = [row for row in rows if row["prefill_ms"]]
    assert timed and all(row["prefill_tokens_per_s"] == 1e3 * row["tokens"] / row["prefill_ms"] for row in timed)
    assert all(row["prefill_tokens_per_s"] is None for row in rows if not row["prefill_ms"])


def test_names_are_taken_once():
    with pytest.raises(ValueError, match="metric 'prefill_ms' is there already"):
        METRICS.register(Metric("prefill_ms", us_per_token, "whole", "pace", "measured", "us"))


def test_a_metric_of_a_table_that_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match=r"no table of metric 'pace' 'Tme' .did you mean 'Time'..; accepted: Speed and quality, T"
    ):
        Metric("pace", us_per_token, "whole", "pace", "measured", "us", table="Tme")
    assert {table.title for table in vars(tables).values() if isinstance(table, tables.MetricTable)} == set(TABLES)


def test_every_metric_is_shown_somewhere_and_says_its_unit():
    (summary,) = summaries(synthetic_records())
    for metric in METRICS.values():
        assert metric.unit and metric.quantity and bool(metric.table) == bool(metric.title)
        assert metric.table or metric.in_rows or metric.in_numbers
        assert metric.name == "peak_share" or any(metric.value(one) is not None for one in summary.results)


def test_a_whole_that_failed_says_how_in_its_cell():
    failed = [r | {"status": "out-of-memory"} for r in synthetic_records() if r["kind"] == "prefill"]
    failed = [{name: value for name, value in r.items() if name not in ("timing", "flops")} for r in failed]
    (summary,) = summaries([*synthetic_records(), *failed])
    assert {row[2] for row in TIME.of(summary).rows} == {"out-of-memory"}
