"""The tables of associative recall: a row for each model, and by depth those of each layout's best."""

from __future__ import annotations

from pathlib import Path

from eval.bench.recall import LAYOUTS, MODEL
from eval.bench.recall_results import RECORDS, RecallRun, depth_table, recall_figures, share_table
from eval.bench.results import ROOT
from eval.quality.recall import Recalled


def run(layout, seed, last_loss_nats, *right):
    """Of texts of 32 and 64 tokens; 3 and 5 questions in their two stretches."""
    found = tuple(Recalled(tokens, (3, 5), one) for tokens, one in zip((32, 64), right, strict=True))
    return RecallRun(layout, seed, 7, 64, 128, 11, last_loss_nats, found, "card", "0.1", "0123456789")


RUNS = (
    run("full", 0, 3.5, (1, 0), (0, 0)), run("full", 1, 0.25, (3, 5), (3, 4)), run("swa(5)", 1, 2.0, (3, 5), (0, 5)),
)  # fmt: skip


def test_every_model_has_a_row_of_shares():
    table = share_table(RUNS, Path("here"))
    assert table.header[3:] == ("32 tokens", "64 tokens")
    assert table.rows == (
        ("full", "0", "3.500", "12.5 %", "0.0 %"), ("full", "1", "0.250", "100.0 %", "87.5 %"),
        ("swa(5)", "1", "2.000", "100.0 %", "62.5 %"),
    )  # fmt: skip
    assert "7 parameters" in table.note and "11 steps of 128 tokens in texts of 32 to 64" in table.note


def test_by_depth_each_layout_is_shown_by_the_model_of_the_least_loss():
    table = depth_table(RUNS)
    assert table.header[3:] == ("1 of 2", "2 of 2")
    assert table.rows == (("full", "1", "64", "100", "80"), ("swa(5)", "1", "64", "0", "100"))


def test_the_kept_records_are_of_every_layout_of_the_benchmark():
    text = recall_figures(ROOT)
    names = {MODEL.with_layout(layout).layout_name.replace("|", r"\|").replace("*", r"\*") for layout in LAYOUTS}
    assert all(text.count(f"| {name} |") >= 4 for name in names), RECORDS
