"""What a notebook shows of a comparison: a line, tables, figures as objects."""

from __future__ import annotations

import dataclasses
import re

import pytest
from matplotlib.figure import Figure

from eval.report.comparison import Comparison
from tests.eval.report.synthetic_records import CONFIG, compared, record, synthetic_records

FOUND = compared(synthetic_records())


def test_a_comparison_prints_as_a_line():
    failed = record("prefill", "full", 65_536, status="out-of-memory", error="no room")
    said = repr(compared([*synthetic_records(), failed]))
    assert "\n" not in said and "smollm2-135m: 3 layouts, 512 to 65,536 tokens" in said and "1 failed" in said
    parts = [one for one in synthetic_records() if one["layout"] != "swa(1024)" or one["kind"] == "attention"]
    assert ": 2 layouts, " in repr(compared(parts))  # a variant that was timed apart is no layout
    assert "0 layouts, 0 records, 0 failed" in repr(Comparison(CONFIG, ()))


def test_its_table_has_the_figures_of_its_rows():
    html = FOUND._repr_html_()
    assert re.findall("<caption[^>]*>(.*?)</caption>", html) == [
        "Speed and quality: 8,192 tokens", "Time: 8,192 tokens",
        "Gain over full attention, whole prefill: 8,192 tokens", "Quality: 4,096 tokens",
    ]  # fmt: skip
    (row,) = (row for row in FOUND.rows() if (row["layout"], row["tokens"]) == ("swa(1024)", 8192))
    cells = re.findall("<td[^>]*>([^<]*)</td>", html)
    assert (
        f"{row['speed_up']:.2f}x" in cells
        and f"{row['read_kl_nats']:.4f}" in cells
        and f"{100 * row['realisation']:.1f} %" in cells
    )
    assert "<table" not in Comparison(CONFIG, ())._repr_html_()


def test_names_are_escaped():
    strange = dataclasses.replace(FOUND, config=dataclasses.replace(CONFIG, name="<script>"))
    assert "&lt;script&gt;" in strange._repr_html_() and "<script>" not in strange._repr_html_()


def test_figures_are_objects_that_show_themselves():
    for figure in (FOUND.plot_wall(), FOUND.plot_pareto()):
        assert isinstance(figure, Figure) and figure.axes
        assert figure._repr_png_().startswith(b"\x89PNG")
    timed = compared([one for one in synthetic_records() if one["kind"] != "quality"])
    for draw, said in (
        (timed.plot_pareto, "a time and a quality of one layout is wanted, and none was measured"),
        (Comparison(CONFIG, ()).plot_wall, "nothing to draw in place 0: this comparison has 0 summaries"),
        (lambda: FOUND.plot_wall(1), "nothing to draw in place 1: this comparison has 1 summaries"),
    ):
        with pytest.raises(ValueError, match=said):
            draw()
