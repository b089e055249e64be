"""What is said of a run before its figures: what disturbs them, and what they do not tell."""

from __future__ import annotations

import re

from eval.report.crossover_fit import MOST_MISFIT
from eval.report.run_facts import LEAST_MS, NOTHING_MEASURED
from tests.eval.report.synthetic_records import (
    LAYOUTS,
    LINEAR_MS,
    attention_ms,
    record,
    slowed,
    synthetic_records,
    whole_ms,
)


def test_linear_times_that_are_no_line_are_called_into_question(written, tmp_path):
    assert "off a line over the lengths" not in written(synthetic_records())
    text = written([*synthetic_records(), *slowed("linear", 1024, 3)])
    for said in (text, (tmp_path / "out" / "report.html").read_text()):
        percent = int(re.search(r"The times of the linear layers are (\d+) % off a line over the lengths", said)[1])
        assert percent > 100 * MOST_MISFIT


def test_times_that_do_not_fit_together_are_called_into_question(written, tmp_path):
    assert "do not fit together" not in written(synthetic_records())
    text = written([*synthetic_records(), *slowed("linear", 8192, 4)])
    sums = {layout: 4 * LINEAR_MS * 8192 + attention_ms(layout, 8192) for layout in LAYOUTS}
    off = {layout: sums[layout] / whole_ms(layout, 8192) - 1 for layout in LAYOUTS}
    worst = max(off, key=off.get)
    percent = f"{100 * off[worst]:.0f}"
    assert (
        min(whole_ms(layout, 1024) for layout in LAYOUTS) > LEAST_MS > max(whole_ms(layout, 512) for layout in LAYOUTS)
    )
    told = rf"in 3 of 12 whole prefills .* .most at {re.escape(worst.replace('*', ''))}, 8,192 tokens: .{percent} %"
    for said in (text, (tmp_path / "out" / "report.html").read_text()):
        assert re.search(told, said.replace("*", "")), said.split("do not fit together")[1][:300]


def test_a_layout_that_no_record_names_is_said_to_be_left_out(written, tmp_path):
    """As a run with --resume left them that found all parts of a layout timed."""
    parts = [r for r in synthetic_records() if r["kind"] in ("linear", "attention")]
    told = "no record names the layout that it is of: {}. `prefillwall compare --resume`"
    for kept, left_out in ((parts, "full, swa(1024)"), (synthetic_records(layouts=("full",)) + parts, "swa(1024)")):
        text = written(kept)
        assert told.format(left_out) in text and NOTHING_MEASURED not in text
        assert f"is of: {left_out}." in (tmp_path / "out" / "report.html").read_text()
    assert "no record names" not in written(synthetic_records())


def test_layers_apart_name_what_spreads(written):
    def apart(samples_ms):
        parts = {"ends": {"samples_ms": [1.0, 1.1]}, "dense full": {"samples_ms": samples_ms}}
        layers = [{"layer": "dense full", "count": 30, "ms": 5.0}]
        return record(
            "apart", "full", 512, timing={"samples_ms": [151.0]}, parts=parts, layers=layers, ends_ms=1.0, asked="auto"
        )

    assert "spread by more than" not in written([*synthetic_records(), apart([5.9, 6.0])])
    said = "The samples of 1 of {} timings spread by more than 25 % .*most: apart of full, 512 tokens, dense full"
    found = re.search(said.format(r"(\d+)"), written([*synthetic_records(), apart([4.0, 8.0])]))
    assert int(found[1]) == sum("timing" in line for line in synthetic_records()) + 2


def test_what_times_alone_do_not_say_is_said(written):
    read = written(synthetic_records())
    assert "is made for" not in read and "No quality was measured" not in read
    times = [r for r in synthetic_records() if r["kind"] != "quality"]
    assert "**No quality was measured: these figures do not say what a layout loses.**" in written(times)
    long = [record("prefill", "full", 16384, timing={"samples_ms": [1.0]})]
    assert "Beyond the 8,192 tokens that smollm2-135m is made for: 16,384." in written([*synthetic_records(), *long])
