"""The report: figures in the text are those of the records, and faults are told."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re

import pytest
from rich.console import Console

from eval.bench.cpu_results import SOURCE
from eval.bench.results import ROOT
from eval.cost.cards import CARDS
from eval.cost.crossover import crossover_tokens
from eval.report import number_format, tables
from eval.report.comparison import Comparison
from eval.report.layout_result import Spread
from eval.report.report_files import write_report
from eval.report.run_facts import NOTHING_MEASURED
from eval.report.table import Table
from eval.report.terminal import render_terminal
from tests.eval.report.synthetic_records import (
    CONFIG,
    ENVIRONMENT,
    LAYOUTS,
    compared,
    record,
    slowed,
    summaries,
    synthetic_records,
    whole_ms,
)


def cells(text, title):
    """{(layout, tokens): other cells} of a table of documents.md."""
    section = text.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").replace("\\*", "*").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return {tuple(row[:2]): row[2:] for row in rows[2:]}


def test_report_says_what_ran_and_how_to_repeat_it(written, tmp_path):
    text = written(synthetic_records())
    for said in ("smollm2-135m, 30 layers, checkpoint weights, float32", "Imaginary 9000, 2 cores", "jax 0.10.2",
                 "0123456789abcdef", "Convention `layers`", "prefillwall compare --seed 7"):  # fmt: skip
        assert said in text
    assert "local changes" not in text
    pictures = re.findall(r"!\[.+\]\((.+)\)", text)
    assert pictures == ["cost.png", "share.png", "quality.png"]
    assert all((tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert "Failed cells" not in text


def test_tables_hold_the_figures(written):
    text = written(synthetic_records())
    times = cells(text, "Time")
    assert len(times) == 15
    ms = whole_ms("full", 8192)
    assert times["full", "8,192"][0] == f"{ms / 1e3:.2f} s ({0.98 * ms / 1e3:.2f}-{1.05 * ms / 1e3:.2f})"
    assert times["full", "8,192"][1:3] == [f"{8192 / ms * 1e3:,.0f}", "819 ms"]
    gains = cells(text, "Gain over full attention, whole prefill")
    assert gains["swa(1024)", "8,192"][0] == f"{ms / whole_ms('swa(1024)', 8192):.2f}x"
    assert ("full", "8,192") not in gains
    crossing = cells(text, "Crossover")
    assert crossing["full", f"{crossover_tokens(CONFIG):,}"][2] == "within 512-8,192"
    assert crossing["swa(1024)", "never (25.0 %)"][0] == "none"
    assert cells(text, "Quality")["swa(1024)", "4,096"] == ["12.500", "+25.00 %", "0.2500", "75.0 %"]
    assert cells(text, "KL from full attention by position (nats)")["swa(1024)", "0.0000"] == ["0.5000"]


def test_a_report_speaks_of_no_other_card_unless_asked(tmp_path):
    """Nor of another model: neither the terminal nor any file."""
    found, console = compared(synthetic_records()), Console(width=140, file=io.StringIO())
    write_report(tmp_path, found, command="prefillwall compare")
    render_terminal(found, console)
    said = [console.file.getvalue(), *(path.read_text() for path in tmp_path.glob("report.*"))]
    assert len(said) == 5 and not any(word in text for text in said for word in ("R9700", "qwen3", "predicted\n"))
    write_report(tmp_path, found, command="prefillwall compare", cards=[CARDS["r9700"], CARDS["h200"]])
    render_terminal(found, console, cards=[CARDS["h200"]])
    markdown, page = ((tmp_path / f"report.{kind}").read_text() for kind in ("md", "html"))
    for title in ("Floor: smollm2-135m on Radeon AI PRO R9700 (gfx1201)", "Floor: smollm2-135m on H200 SXM (sm90)"):
        assert title in markdown and title in page
    assert "Floor: smollm2-135m on H200" in console.file.getvalue()
    assert page.count("Predicted: smollm2-135m on a") == page.count("Predicted: smollm2-135m on a Radeon") > 0


def test_a_failed_cell_is_told(written):
    error = "RESOURCE_EXHAUSTED: <2*3*4> a|b [red]"
    text = written([*synthetic_records(), record("prefill", "full", 8192, status="out-of-memory", error=error)])
    assert cells(text, "Time")["full", "8,192"][0] == "out-of-memory"
    assert r"| prefill full | 8,192 | out-of-memory | RESOURCE\_EXHAUSTED: &lt;2\*3\*4> a\|b [red] |" in text


def test_several_settings_and_environments_are_told_apart(written, tmp_path):
    records = synthetic_records()
    other = [r | {"dtype": "bfloat16", "environment": r["environment"] | {"git_dirty": True}} for r in records]
    text = written(records + other, mixed=True)
    assert f"# smollm2-135m, checkpoint weights, cpu ({ENVIRONMENT['cpu']}), bfloat16, attention blockwise" in text
    assert text.count("* commit: 0123456789abcdef") == 2
    assert text.count("with local changes") == 1
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        f"{place}-{name}.png" for place in (1, 2) for name in ("cost", "share", "quality")
    }


def test_records_of_nothing_but_quality_or_failures_still_report(written):
    text = written([record("prefill", "full", 9, status="failed", error="ValueError: no")])
    assert "ValueError: no" in text
    assert NOTHING_MEASURED in text
    linear_alone = [record(kind, name, 9, status="failed", error="ValueError: no") for kind, name in
                    (("attention", "full"), ("prefill", "full"), ("quality", "full"))]  # fmt: skip
    text = written([r for r in synthetic_records() if r["kind"] == "linear"] + linear_alone)
    assert NOTHING_MEASURED in text
    text = written([r for r in synthetic_records() if r["kind"] == "quality"])
    assert NOTHING_MEASURED not in text
    assert "## Quality" in text
    assert "## Time" not in text


@pytest.mark.parametrize("width", [80, 140])
def test_terminal_shows_every_question_answered(width):
    console = Console(width=width, file=io.StringIO())
    render_terminal(compared(synthetic_records()), console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    titles = (
        "Speed and quality",
        "\nTime: 8,192 tokens",
        "\nFLOPs",
        "attention part",
        "Crossover",
        "\nQuality",
        "Every length, memory",
    )
    assert [text.index(title) for title in titles] == sorted(text.index(title) for title in titles)
    assert all(re.search(rf"^{re.escape(layout)} +[\d.]+ s ", text, re.MULTILINE) for layout in LAYOUTS)


def test_a_narrow_terminal_gets_whole_figures_and_layouts_broken_between_words():
    console = Console(width=80, file=io.StringIO())
    kept = Comparison.read(ROOT / SOURCE)
    render_terminal(kept, console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    (summary,) = kept.summaries
    first_words = {layout.name.split()[0] for layout in summary.layouts}
    begun = {line.split()[0] for line in lines if re.match(r"(evict|spans|routed|moba)\(", line)}
    assert begun == {word for word in first_words if "(" in word and "swa" not in word}
    assert min(len(line.strip()) for line in lines if line.strip()) > 4  # nothing is stacked letter by letter


def test_times_of_another_form_have_neither_crossover_nor_interval(written, tmp_path):
    """Attention at one length takes a hundred times as long as its neighbours have it; what else is fitted stays."""
    text = written([*synthetic_records(), *slowed("attention", 512, 100)])
    rows = cells(text, "Crossover")
    crossing = rows["full", f"{crossover_tokens(CONFIG):,}"]
    assert crossing[:2] == ["-", "-"] and re.fullmatch(
        r"no fit: the times of attention are [\d,]+ % off .*", crossing[2]
    )
    assert rows["swa(1024)", "never (25.0 %)"][0] == "none"
    assert crossing[2].split(" % off")[0] in (tmp_path / "out" / "report.html").read_text()
    fitted = [row for row in json.loads((tmp_path / "out" / "report.json").read_text())["rows"]
              if (row["layout"], row["quantity"], row["kind"]) == ("full", "crossover", "fitted")]  # fmt: skip
    assert [(row["value"], row["low"], row["high"]) for row in fitted] == [(None, None, None)]
    assert fitted[0]["note"].startswith("no fit")


def test_commands_that_measured_stand_before_the_one_that_draws(tmp_path):
    first, again, draws = (f"prefillwall {words}" for words in ("compare --seed 7", "compare --resume", "report out"))
    half = synthetic_records(lengths=(512,))
    told = [r | {"invocation": first} for r in half] + [
        r | {"invocation": again} for r in synthetic_records(lengths=(1024,), quality_tokens=0)
    ]
    for kept, command, expected, untold in (
        (told, draws, [first, again, draws], False),
        (told, again, [first, again], False),
        (half, draws, [draws], True),
    ):
        text = write_report(tmp_path, compared(kept), command=command).read_text()
        assert "\n".join(["```", *expected, "```"]) in text
        assert ("do not tell the command that measured them" in text) == untold
        page = (tmp_path / "report.html").read_text()
        assert re.findall(r"Command: <code>(.*?)</code>", page) == expected
        assert json.loads((tmp_path / "report.json").read_text())["commands"] == expected


def test_a_column_that_says_one_thing_goes_into_the_title():
    one = Table("Time", ("layout", "tokens", "basis"), (("full", "7", "x"), ("swa(3)", "7", "y")), "", (0, 2))
    assert one.without_constant("tokens") == Table(
        "Time: 7 tokens", ("layout", "basis"), (("full", "x"), ("swa(3)", "y")), "", (0, 1)
    )
    two = dataclasses.replace(one, rows=(*one.rows, ("full", "9", "z")))
    assert two.without_constant("tokens") == two and one.without_constant("length") == one
    assert two.without_constant("tokens", "layout") == two
    alike = Table("Time", ("layout", "tokens", "linear"), (("full", "7", "3 s"), ("swa(3)", "7", "3 s")))
    short = Table("Time: 7 tokens, 3 s linear", ("layout",), (("full",), ("swa(3)",)))
    assert alike.without_constant("tokens", "linear") == short
    unknown = Table("Time", ("layout", "linear"), (("full", "-"),))
    assert unknown.without_constant("linear") == unknown


def test_numbers_are_humane():
    assert [number_format.duration(ms) for ms in (0.0123, 1.234, 56.78, 999.6, 1234.5, 61_000, None)] == [
        "0.0123 ms", "1.23 ms", "56.8 ms", "1,000 ms", "1.23 s", "61.0 s", "-"
    ]  # fmt: skip
    flops = [number_format.flops(n) for n in (0, 999, 2.5e12, 3e18)]
    assert flops == ["0 FLOP", "999 FLOP", "2.50 TFLOP", "3,000 PFLOP"]
    assert number_format.spread(Spread(1500, 990, 2000, 3)) == "1.50 s (0.990-2.00)"
    assert (number_format.fitted(6472.2), number_format.fitted(math.inf)) == ("6,470", "unbounded")
    assert [number_format.factor(x) for x in (3.956, 12345.6, None)] == ["3.96x", "12,346x", "-"]
    assert [number_format.number(value) for value in (9.994, 9.996, 0.0999, 99.96, 0)] == [
        "9.99", "10.0", "0.0999", "100", "0"
    ]  # fmt: skip
    assert (number_format.percent(0.1234), number_format.signed_percent(-0.01)) == ("12.3 %", "-1.00 %")


def test_summary_is_what_the_tables_are_made_of():
    (summary,) = summaries(synthetic_records())
    assert tables.TIME.of(summary).rows[0][0] == "full"
    assert not tables.failure_table(summary)


def test_utilisation_is_useful_flops_over_the_peak_of_the_card():
    on_card = [r | {"dtype": "bfloat16", "environment": r["environment"] | {"device_kind": "NVIDIA H100 80GB HBM3"}}
               for r in synthetic_records()]  # fmt: skip
    [summary] = summaries(on_card)
    table = tables.UTILISATION.of(summary)
    row = next(row for row in summary.results if row.whole_ms)
    rate = row.useful.whole / (1e-3 * row.whole_ms.median)
    assert table.rows[0][-1] == number_format.percent(rate / 989e12)
    [unknown] = summaries(synthetic_records())
    assert not tables.UTILISATION.of(unknown)


def test_break_even_is_the_first_length_from_which_all_are_faster():
    [summary] = summaries(synthetic_records())
    found = {row[0]: row[1:] for row in tables.break_even_table(summary).rows}
    assert found["swa(1024)"] == ("1,025", "2,048")
    lucky = [r | {"timing": {"samples_ms": [1.01 * ms for ms in r["timing"]["samples_ms"]]}}
             for r in synthetic_records() if (r["kind"], r["layout"]) == ("prefill", "full")]  # fmt: skip
    [summary] = summaries([*synthetic_records(), *lucky])
    assert summary.of("swa(1024)")[0].whole_gain.speed_up > 1  # where the window holds the whole prompt
    assert {row[0]: row[1:] for row in tables.break_even_table(summary).rows} == found


def test_layers_apart_are_beside_the_whole_where_both_are_there():
    apart = [record("apart", "full", tokens, timing={"samples_ms": [1.1 * whole_ms("full", tokens)]})
             for tokens in (512, 16384)]  # fmt: skip
    [summary] = summaries([*synthetic_records(), *apart])
    rows = tables.apart_table(summary).rows
    assert [(row[1], row[-1]) for row in rows] == [("512", "+10.00 %"), ("16,384", number_format.NOTHING)]


def test_auto_compares_what_it_chose():
    """Kernels of different names are comparable where `auto` chose both."""
    chosen = [r | {"asked": "auto", "impl": "pallas" if "swa" in r["layout"] else "cudnn"} if r["kind"] == "prefill"
              else r | ({"asked": "auto"} if r["impl"] != "none" else {}) for r in synthetic_records()]  # fmt: skip
    [summary] = summaries(chosen)
    assert all(row.whole_gain.speed_up for row in summary.of("swa(1024)"))
