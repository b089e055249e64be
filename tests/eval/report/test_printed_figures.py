"""Every figure that a report prints is the one that follows from its records, worked out without the report's code."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from eval.cost.break_even import break_even_tokens
from eval.cost.crossover import crossover_tokens
from eval.report.report_files import write_report
from eval.report.terminal import render_terminal
from tests.eval.report.drawn_records import APART, FAILED, LAYOUTS, LENGTHS, MIXED, READ, WINDOW, drawn_records
from tests.eval.report.plain import cell, figures, says
from tests.eval.report.synthetic_records import CONFIG, compared

RECORDS = drawn_records()
FOUND = {(layout, n): figures(RECORDS, layout, n) for layout in LAYOUTS for n in LENGTHS}
PEAK = 989e12  # of an H100 in bf16
GAINS = ("speed_up", "useful_reduction", "executed_reduction", "realisation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("drawn")
    write_report(out, compared(RECORDS), command="prefillwall compare")
    return out


@pytest.fixture(scope="module")
def sections(folder):
    """{title: rows of cells} of report.md."""
    text = (folder / "report.md").read_text().replace("\\*", "*").replace("\\_", "_")
    found = {}
    for section in text.split("\n## ")[1:]:
        lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
        found[section.splitlines()[0]] = lines[2:]
    return found


def read_of(layout: str) -> dict:
    """What is known of a layout at the longest text."""
    return FOUND[layout, READ[-1]]


def test_rows_have_each_figure_in_its_own_column():
    rows = {(row["layout"], row["tokens"]): row for row in compared(RECORDS).rows()}
    assert set(rows) == {*FOUND, ("full", FAILED)}
    for (layout, n), one in FOUND.items():
        expected = {
            **{f"{name}_ms{edge}": one[f"{part}_ms"][i]
               for name, part in (("prefill", "whole"), ("linear", "linear"), ("attention", "attention"))
               for i, edge in enumerate(("", "_low", "_high"))},
            **{f"{name}_samples": one["samples"][part]
               for name, part in (("prefill", "whole"), ("linear", "linear"), ("attention", "attention"))},
            "prefill_tokens_per_s": 1e3 * n / one["whole_ms"][0],
            "attention_share": one["time_share"], "attention_share_by_flops": one["flop_share"],
            **{f"attention_{count}_flops": one[count]["attention"] for count in ("useful", "executed")},
            **{f"{count}_flops": one[count]["whole"] for count in ("useful", "executed")},
            **{gain: one["whole_gain"][gain] for gain in GAINS},
            **{f"attention_{gain}": one["attention_gain"][gain] for gain in GAINS},
            **{name: one["quality"][name] if "quality" in one else None
               for name in ("perplexity", "kl_nats", "top1_agreement")},
            "read_tokens": READ[-1], "read_perplexity": read_of(layout)["quality"]["perplexity"],
            "read_perplexity_change": read_of(layout)["perplexity_change"],
            "read_kl_nats": read_of(layout)["quality"]["kl_nats"],
            "planned_bytes": one["planned_bytes"], "rss_peak_bytes": one["rss_peak_bytes"],
        }  # fmt: skip
        said = {"model": CONFIG.name, "device": "NVIDIA H100 80GB HBM3", "dtype": "bfloat16", "batch": 1,
                "impl": "blockwise", "layout": layout, "tokens": n, "status": "ok"}  # fmt: skip
        row = rows[layout, n]
        assert row.keys() == (said | expected).keys() and {name: row[name] for name in said} == said
        for name, value in expected.items():
            assert row[name] == (None if value is None else pytest.approx(value, rel=1e-12)), (layout, n, name)


def expected_cells(title: str, n: int, one: dict, read: dict) -> list[tuple[float, ...]]:
    """What the cells of a row say, behind layout and tokens."""
    whole, linear, attention = (one[f"{part}_ms"] for part in ("whole", "linear", "attention"))
    useful, ran, quality = one["useful"], one["executed"], one.get("quality")
    change = one.get("perplexity_change")
    gains = one["whole_gain"]
    tables = {
        "Speed and quality": [
            whole,
            1e3 * n / whole[0],
            gains["speed_up"],
            gains["useful_reduction"],
            READ[-1],
            read["quality"]["perplexity"],
            read["perplexity_change"],
            read["quality"]["kl_nats"],
        ],
        "Time": [
            whole,
            1e3 * n / whole[0],
            linear[:1],
            attention[:1],
            one["time_share"],
            one["flop_share"],
            [one["samples"][part] for part in ("whole", "linear", "attention")],
        ],
        "FLOPs": [useful["linear"], useful["attention"], ran["attention"], useful["whole"], ran["whole"]],
        "Gain over full attention, whole prefill": [one["whole_gain"][gain] for gain in GAINS],
        "Gain over full attention, attention part": [one["attention_gain"][gain] for gain in GAINS],
        "Peak memory": [one["planned_bytes"], one["rss_peak_bytes"]],
        "Utilisation": [one["flops_per_s"] / 1e12, one["flops_per_s"] / PEAK],
        "Quality": quality and [quality["perplexity"], change, quality["kl_nats"], quality["top1_agreement"]],
    }
    return [tuple(np.atleast_1d(value)) for value in tables[title]]


@pytest.mark.parametrize(
    ("title", "left_out", "lengths"),
    [
        ("Speed and quality", (), LENGTHS[-1:]),
        ("Time", (), LENGTHS), ("FLOPs", (), LENGTHS), ("Peak memory", (), LENGTHS), ("Utilisation", (), LENGTHS),
        ("Gain over full attention, whole prefill", ("full",), LENGTHS),
        ("Gain over full attention, attention part", ("full",), LENGTHS), ("Quality", (), READ),
    ],
)  # fmt: skip
def test_cells_of_tables_are_rounded_from_the_records(sections, title, left_out, lengths):
    rows = {(row[0], int(row[1].replace(",", ""))): row[2:] for row in sections[title]}
    if title == "Time":
        assert rows.pop(("full", FAILED))
    assert set(rows) == {(layout, n) for layout in LAYOUTS if layout not in left_out for n in lengths}
    for (layout, n), cells in rows.items():
        cells = [one for one in cells if one != "blockwise"]
        expected = expected_cells(title, n, FOUND[layout, n], read_of(layout))
        assert len(cells) == len(expected)
        for text, values in zip(cells, expected, strict=True):
            assert says(text, *values), (layout, n, text, values)


def test_what_a_whole_that_failed_left_is_its_status_and_the_closed_form(sections):
    (row,) = [row for row in sections["Time"] if row[1] == f"{FAILED:,}"]
    assert row[2] == "out-of-memory" and sections["Failed cells"] == [
        ["prefill full", f"{FAILED:,}", "out-of-memory", "no room"]
    ]


def test_break_even_is_where_every_longer_prompt_is_faster(sections):
    rows = {row[0]: row[1:] for row in sections["Break-even"]}
    for layout in (WINDOW, MIXED):
        gains = {n: FOUND[layout, n] for n in LENGTHS if FOUND[layout, n]["attention_gain"]["useful_reduction"] > 1}
        faster = {n: one["whole_gain"]["speed_up"] > 1 for n, one in gains.items()}
        first = min(n for n in faster if all(faster[m] for m in faster if m >= n))
        assert rows[layout] == [f"{break_even_tokens(CONFIG, CONFIG.with_layout(layout)):,}", f"{first:,}"]
        assert (first > min(faster)) and (layout != WINDOW or faster[min(faster)])  # faster, slower, faster for good


def test_the_sum_of_layers_stands_beside_the_whole(sections):
    [(layout, tokens, estimate, whole, error)] = sections["Layers timed apart"]
    ms = FOUND[MIXED, APART]["whole_ms"][0]
    assert (layout, tokens) == (MIXED, f"{APART:,}")
    assert says(estimate, 777.0) and says(whole, ms) and says(error, 777.0 / ms - 1)


def test_divergence_by_position_is_of_the_longest_text(sections):
    title = "KL from full attention by position (nats)"
    for row, layout in zip(sections[title], (WINDOW, MIXED), strict=True):
        kept = FOUND[layout, READ[-1]]["quality"]["by_position"]
        assert row[0] == layout and len(row) == 1 + len(kept)
        assert all(says(text, one["kl_nats"]) for text, one in zip(row[1:], kept, strict=True))


class TableReader(HTMLParser):
    """The cells of each table of a page, by its caption."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.into: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag == "caption":
            self.into = [""]
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.into = self.rows[-1]

    def handle_data(self, data):
        if self.into:
            self.into[-1] += data

    def handle_endtag(self, tag):
        if tag == "caption":
            self.rows = self.tables.setdefault(self.into[0], [])
        if tag in ("caption", "td", "th"):
            self.into = []


def test_the_page_and_the_terminal_print_the_same_cells(folder, sections):
    reader = TableReader()
    reader.feed((folder / "report.html").read_text())
    for title, rows in sections.items():
        assert title == "How to reproduce" or reader.tables[title][1:] == rows, title
    console = Console(width=250, file=io.StringIO())
    render_terminal(compared(RECORDS), console)
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    longest = f"{LENGTHS[-1]:,}"
    for title in ("Speed and quality", "Time", "FLOPs", "Gain over full attention, whole prefill", "Utilisation"):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{title}: {longest} tokens"))
        linear = re.findall(", (.+) linear$", lines[at])  # the same under every layout: the title says it once
        assert bool(linear) == (title == "Time")
        for row in (row for row in sections[title] if row[1] == longest):
            assert " ".join([row[0], *(cell for cell in row[2:] if cell not in linear)]) in lines[at:], row
    apart, failed = f"Layers timed apart: {APART:,} tokens", f"Failed cells: {FAILED:,} tokens"
    for title in ("Crossover", "Break-even", apart, "Quality", failed):
        at, tokens = lines.index(title), re.findall(r": ([\d,]+) tokens", title)
        for row in sections[title.partition(":")[0]]:
            assert " ".join(one for one in row if one not in tokens) in lines[at:], row


def test_report_csv_and_json_have_each_number_under_its_name(folder):
    rows = json.loads((folder / "report.json").read_text())["rows"]
    with (folder / "report.csv").open() as file:
        assert [row["value"] for row in csv.DictReader(file)] == [
            "" if row["value"] is None else str(row["value"]) for row in rows
        ]
    at = {(r["layout"], r["tokens"], r["part"], r["quantity"], r["kind"]): r for r in rows}
    assert len(at) == len(rows)
    for (layout, n), one in FOUND.items():
        expected: dict[tuple[str, str, str], tuple] = {}
        for part in ("whole", "linear", "attention"):
            expected[part, "time", "measured"] = tuple(one[f"{part}_ms"])
            expected[part, "samples of the time", "measured"] = (one["samples"][part], None, None)
        expected["whole", "tokens a second", "measured"] = (1e3 * n / one["whole_ms"][0], None, None)
        for part in ("whole", "linear", "attention", "head"):
            for count in ("useful", "executed"):
                expected[part, f"{count} FLOPs", "counted"] = (one[count][part], None, None)
        for part in ("whole", "attention") if layout != "full" else ():
            for gain, quantity, kind in zip(GAINS, ("speed-up", "reduction of useful FLOPs",
                    "reduction of executed FLOPs", "realisation"),
                    ("measured", "counted", "counted", "measured"), strict=True):  # fmt: skip
                expected[part, quantity, kind] = (one[f"{part}_gain"][gain], None, None)
        expected["attention", "share of time", "measured"] = (one["time_share"], None, None)
        expected["attention", "share of useful FLOPs", "counted"] = (one["flop_share"], None, None)
        expected["whole", "planned memory", "measured"] = (one["planned_bytes"], None, None)
        expected["whole", "peak resident memory", "measured"] = (one["rss_peak_bytes"], None, None)
        if quality := one.get("quality"):
            for name, quantity in (("perplexity", "perplexity"), ("kl_nats", "KL from full attention"),
                                   ("top1_agreement", "same top token")):  # fmt: skip
                expected["text", quantity, "measured"] = (quality[name], None, None)
                for kept in quality["by_position"] if name != "top1_agreement" else ():
                    part = f"positions {kept['first']} to {kept['last']}"
                    expected[part, quantity, "measured"] = (kept[name], None, None)
        for (part, quantity, kind), values in expected.items():
            row = at.pop((layout, n, part, quantity, kind))
            for name, value in zip(("value", "low", "high"), values, strict=True):
                assert row[name] == (None if value is None else pytest.approx(value, rel=1e-12)), row
    assert at.pop(("full", FAILED, "prefill", "status", "failed"))["note"] == "out-of-memory: no room"
    for layout in LAYOUTS:
        model = CONFIG.with_layout(layout)
        assert at.pop((layout, None, "attention", "crossover", "counted"))["value"] == crossover_tokens(model)
        assert at.pop((layout, None, "attention", "crossover", "fitted"))["unit"] == "token"
        if layout != "full":
            row = at.pop((layout, None, "attention", "break-even with full attention", "counted"))
            assert row["value"] == break_even_tokens(CONFIG, model)
    assert not at


def test_drawn_records_tell_figures_apart():
    """Else one in the place of another would not show."""
    for one in FOUND.values():
        shown = [value for gain in ("whole_gain", "attention_gain") for value in one[gain].values() if value != 1]
        shown += [*one["useful"].values(), *one["executed"].values(), one["time_share"], one["flop_share"]]
        assert len({f"{value:.3g}" for value in shown}) >= len(shown) - 2  # heads, and of full attention the ones
    assert cell(RECORDS, "prefill", "full", FAILED) is None
