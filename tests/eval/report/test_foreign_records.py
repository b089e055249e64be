"""Records, layout files and cards with missing and foreign values: each mutant ends in what it says, all through, or in
one line that names the file."""

from __future__ import annotations

import random
import re

import pytest

from attention.layout import parse_layout
from eval.cost.cards import card
from eval.measure.left_out_records import left_out, prefills
from eval.report.comparison import Comparison
from eval.report.page.page import write_html
from eval.report.report_files import report_tables
from eval.report.run_facts import cautions, crossovers, run_facts
from eval.report.tidy import all_numbers, to_csv, to_json
from tests.eval.report.synthetic_records import CONFIG, synthetic_records
from tests.foreign_values import as_json, mutated, mutated_text
from tests.held import held, one_line

LINES = synthetic_records(("full", "swa(1024)", "29*swa(7,sinks=3)+full"), lengths=(512, 2048), quality_tokens=0)
LINES += synthetic_records(lengths=(), quality_tokens=1024)
FEW, MANY = 200, 2_000  # `--cases` says otherwise
LAYOUTS = (
    ["full", "swa(128)", "spans(256|full, sinks=4)", "moba(block=64, topk=4)"],
    {"sinks": 64, "spans": [[256, "full", "64+0.25N"]] * 4},
    {"sinks": 64, "recent": 256, "threshold": 0.5, "gates": [[0.93, 0.02, 0.4]] * 4},
)
CARD = """name = "mine"
bandwidth_bytes_per_s = 6.4e11
memory_bytes = 34_000_000_000
[peak_tflops]
bf16 = 191.0
f32 = 47.0
"""


def through_every_module(found: Comparison, folder) -> None:
    """What `prefillwall report` and `validate --records` compute, without the pictures."""
    summaries = found.summaries
    found.rows()
    crossed = [crossovers(summary) for summary in summaries]
    tables = [report_tables(summary, one) for summary, one in zip(summaries, crossed, strict=True)]
    assert all(table.to_markdown() for each in tables for table in each if table)
    assert [cautions(summary) for summary in summaries] and run_facts(found.records, CONFIG)
    numbers = all_numbers(summaries, crossed, ())
    to_csv(numbers).encode()
    to_json(numbers, {}).encode()
    write_html(folder, found.records, summaries, crossed, tables, (), config=CONFIG, command="prefillwall report x")
    if len(rows := prefills(found.records, CONFIG, card("h100-sxm"))) > 1:
        left_out(rows)


def records_mutants(seed: int, count: int, every: int, tmp_path) -> dict[str, int]:
    """Of the mutants that are read, one in `every` goes through the whole report, which takes long."""
    rng, path, ends = random.Random(seed), tmp_path / "records.jsonl", {"refused": 0, "read": 0, "reported": 0}
    for _ in range(count):
        lines = [as_json(line) for line in LINES]
        place = rng.randrange(len(lines))
        if rng.random() < 0.8:
            path.write_text("\n".join([*lines[:place], as_json(mutated(LINES[place], rng)), *lines[place + 1 :], ""]))
        else:
            path.write_bytes(mutated_text("\n".join(lines), rng))
        try:
            with held(path.stat().st_size):
                found = Comparison.read(path, CONFIG)
        except ValueError as error:
            one_line(error, path)
            ends["refused"] += 1
            continue
        ends["read"] += 1
        if ends["read"] % every:
            continue
        try:
            through_every_module(found, tmp_path)
            ends["reported"] += 1
        except ValueError as error:
            assert "\n" not in str(error) and re.search("layout|model|one", str(error)), repr(error)
    return ends


def test_records_are_refused_or_reported(tmp_path):
    ends = records_mutants(0, FEW, 12, tmp_path)
    assert ends["refused"] > FEW // 3 and ends["reported"] > 0, ends


@pytest.mark.slow
def test_many_records_are_refused_or_reported(share, tmp_path):
    count = share.count(MANY)
    ends = records_mutants(share.seed, count, 40, tmp_path)
    assert ends["refused"] > count // 3 and ends["reported"] >= count // 600, ends


def layout_mutants(seed: int, count: int, tmp_path) -> int:
    rng, path, refused = random.Random(seed), tmp_path / "layout.json", 0
    for _ in range(count):
        layout = rng.choice(LAYOUTS)
        if rng.random() < 0.7:
            path.write_text(as_json(mutated(layout, rng)))
        else:
            path.write_bytes(mutated_text(as_json(layout), rng))
        try:
            with held(path.stat().st_size):
                found = parse_layout(str(path), 4)
                assert len(found) == 4 and list(map(str, found))
        except ValueError as error:
            one_line(error, path)
            refused += 1
    return refused


def card_mutants(seed: int, count: int, tmp_path) -> int:
    rng, path, refused = random.Random(seed), tmp_path / "card.toml", 0
    for _ in range(count):
        lines = CARD.splitlines()
        if rng.random() < 0.5:
            place = rng.randrange(len(lines))
            key, _, value = lines[place].partition(" = ")
            foreign = rng.choice(("nan", "inf", "-1", "0", "1e400", "true", '""', "[]", "{}", "[" * 5_000, "9" * 5_000))
            twice = f"{lines[place]}\n{lines[place]}"
            lines[place] = rng.choice((f"{key} = {foreign}", f"{key}x = {value}", "", twice))
            path.write_text("\n".join(lines))
        else:
            path.write_bytes(mutated_text(CARD, rng))
        try:
            with held(path.stat().st_size):
                assert card(path).peak
        except ValueError as error:
            one_line(error, path)
            refused += 1
    return refused


@pytest.mark.parametrize("mutants", [layout_mutants, card_mutants])
def test_layout_files_and_cards_are_refused_or_read(mutants, tmp_path):
    assert mutants(0, FEW, tmp_path) > FEW // 3


@pytest.mark.slow
@pytest.mark.parametrize("mutants", [layout_mutants, card_mutants])
def test_many_layout_files_and_cards_are_refused_or_read(share, mutants, tmp_path):
    count = share.count(MANY)
    assert count // 3 < mutants(share.seed, count, tmp_path) < count
