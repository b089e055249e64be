"""The figures of README.md and docs/results.md are those of the kept records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eval.bench.gpu_results import atlas_table, kernel_table, model_table, other_runs, step_table
from eval.bench.kept import KernelRun, ModelRun, StepRun
from eval.bench.pictures import digest
from eval.bench.results import PICTURES, README, RESULTS, ROOT, spliced, whole_page
from eval.measure.records.decode import from_json
from eval.measure.timing import Timing
from tests.eval.report.synthetic_records import ENVIRONMENT, record


@pytest.mark.parametrize("page", [README, RESULTS])
def test_a_page_is_what_the_records_say(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert whole_page(page, text) == text, "run: python -m eval.bench.results"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_drawn_from_the_records_that_are_kept(picture):
    records, _ = PICTURES[picture]
    assert digest(ROOT / records).encode() in (ROOT / picture).read_bytes(), "run: python -m eval.bench.results"
    assert str(picture) in (ROOT / README).read_text(encoding="utf-8")


def test_the_picture_of_worth_has_a_dot_and_a_ring_for_every_layout():
    _, draw = PICTURES[Path("eval/results/worth.png")]
    (axes,) = draw(ROOT).axes
    rings = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    table = (ROOT / README).read_text(encoding="utf-8")
    assert len(rings) >= 2 * 4 and "evict(tova, budget=1024, chunk=512)" in table  # the README's rows, at least


def test_a_crossover_by_flops_is_off_by_what_the_rates_are_apart():
    """Whatever the kernels' efficiency, FLOPs alone would be right where both parts ran at one rate."""
    for *_, off, attention, linear, _ in atlas_table(ROOT).rows:
        assert int(off.rstrip("%")) / 100 == pytest.approx(int(linear) / int(attention) - 1, abs=0.05)


def test_each_of_our_times_is_beside_theirs_of_the_same_run():
    def timed(contender, layout, tokens, *samples_ms):
        return ModelRun(contender, layout, tokens, "ok", "card", Timing(samples_ms), "5")

    first = [timed("transformers", "full", 64, 800.0), timed("ours", "full", 64, 400.0)]
    first += [timed("ours", "swa(5)", 64, 200.0)]
    second = [timed("transformers", "full", 64, 900.0, 1000.0, 1300.0), timed("ours", "full", 64, 400.0)]
    (row,) = model_table([*first, *second], Path("records")).rows
    assert row == ("64", "1.00 s (900 ms-1.30 s)", "400 ms", "2.50x", "200 ms", "4.00x")


def test_prefills_of_another_run_than_full_attentions_are_named():
    def prefill(layout, tokens, commit):
        return from_json(record("prefill", layout, tokens, environment=ENVIRONMENT | {"git_commit": commit}))

    kept = [
        prefill("full", 64, "a"),
        prefill("swa(5)", 64, "b"),
        prefill("swa(7)", 64, "a"),
        prefill("swa(5)", 32, "b"),
    ]
    found = other_runs(kept, [64])
    assert "`swa(5)` at 64." in found and "swa(7)" not in found and "32" not in found
    assert other_runs(kept[:1] + kept[2:3], [64]) == ""
    assert other_runs(kept[1:], [64]) == ""  # full attention did not fit: there are no gains to doubt


def test_a_kernels_row_is_of_the_last_run_that_timed_it():
    def rate(case, contender, time, tflops):
        return KernelRun(case, 64, contender, "ok", time, "card", "0", f"{time}bcdefgh", tflops)

    first = [rate("causal", "ours", "1", 5.0), rate("causal", "cudnn", "1", 3.0), rate("window", "ours", "1", 7.0)]
    failed = [replace(rate("window", "ours", "3", 1.0), status="failed"), rate("window", "cudnn", "3", 2.0)]
    table = kernel_table([rate("causal", "ours", "2", 11.0), *first, *failed], Path("records"))
    found = [(*row[:5], row[-1]) for row in table.rows]
    assert found == [("causal", "64", "11", "-", "-", "2bcdefg"), ("window", "64", "7", "-", "-", "1bcdefg")]


def test_a_steps_rates_are_its_time_and_bytes():
    def run(batch, samples_ms, step_bytes):
        return StepRun("m", "full", batch, 1031, samples_ms, step_bytes, "bf16", "card", "0", "abcdefgh")

    table = step_table([run(1, (2.0, 4.0, 5.0), 10**10), run(7, (8.0,), None)], Path("records"))
    one = "full", "1", "1,031", "4.00 ms", "250", "2.50", "abcdefg"
    assert table.rows == (one, ("full", "7", "1,031", "8.00 ms", "875", "-", "abcdefg"))


def test_marks_are_needed():
    with pytest.raises(ValueError, match=r"page.md lacks the line '<!-- figures: python"):
        spliced("page.md", "no marks", "figures", "figures")
