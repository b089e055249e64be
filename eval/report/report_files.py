"""The files that a comparison leaves to be read: report.md with its pictures, report.html, report.csv, report.json."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attention.regular_file import regular_file
from eval.cost.cards import Card
from eval.measure.records.schema import Record
from eval.report import plots
from eval.report.comparison import Comparison
from eval.report.on_card import on_card
from eval.report.page.page import write_html
from eval.report.run_facts import (
    CONVENTION,
    UNTOLD_COMMAND,
    Crossovers,
    cautions,
    commands,
    crossovers,
    heading,
    layouts_of,
    run_facts,
)
from eval.report.summary import Summary
from eval.report.table import Table
from eval.report.tables import (
    ATTENTION_GAIN,
    FLOPS,
    MEMORY,
    QUALITY,
    SPEED_AND_QUALITY,
    TIME,
    UTILISATION,
    WHOLE_GAIN,
    apart_table,
    break_even_table,
    crossover_table,
    failure_table,
    position_table,
)


def write_report(folder: Path, compared: Comparison, *, command: str, cards: Sequence[Card] = ()) -> Path:
    """report.md with its PNG files, report.html, report.csv and report.json in `folder`; the path of report.md.

    The page for a browser is the same path with the suffix .html.  Of each of `cards` there is a floor under the
    layouts, and a prediction where published rates on it are known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records, config, summaries = compared.records, compared.config, compared.summaries
    crossed = [crossovers(summary) for summary in summaries]
    tables = [report_tables(summary, found) for summary, found in zip(summaries, crossed, strict=True)]
    elsewhere = [on_card(config, layouts_of(summaries), card) for card in cards]
    facts = ("\n".join(f"* {name}: {value}" for name, value in one.items()) for one in run_facts(records, config))
    parts = [f"# Attention variants in prefill: {config.name}\n", "\n\n".join(facts) + "\n", CONVENTION + "\n"]
    for place, summary in enumerate(summaries):
        several = len(summaries) > 1
        parts += [f"# {heading(summary)}\n"] if several else []
        prefix = f"{place + 1}-" if several else ""
        parts += [f"**{caution}**\n" for caution in cautions(summary)]
        parts += _sections(tables[place], _pictures(summary, crossed[place], folder, prefix))
    parts += [of.floor.to_markdown() for of in elsewhere]
    parts += [_how_to_reproduce(records, command)]
    path = regular_file(folder / "report.md")
    path.write_text("\n".join(parts), encoding="utf-8")
    write_html(folder, records, summaries, crossed, tables, elsewhere, config=config, command=command)
    return path


def _how_to_reproduce(records: Sequence[Record], command: str) -> str:
    *measured, _ = lines = commands(records, command)
    said = ["The records are in `records.jsonl` beside this file."]
    if shlex.split(command)[1:2] == ["report"]:
        said.insert(0, "The last line draws the report again from the records." if measured else "This draws it again.")
        if any(record.run.invocation is None for record in records):
            said.append(UNTOLD_COMMAND)
    text = "\n".join(lines)
    return f"## How to reproduce\n\n```\n{text}\n```\n\n{' '.join(said)}\n"


def report_tables(summary: Summary, crossed: Crossovers) -> list[Table]:
    """All of one summary, in the order of the report; some may be empty."""
    return [
        SPEED_AND_QUALITY.of(summary.at_longest()), TIME.of(summary), FLOPS.of(summary), WHOLE_GAIN.of(summary),
        ATTENTION_GAIN.of(summary),
        crossover_table(summary, *crossed), break_even_table(summary), UTILISATION.of(summary), apart_table(summary),
        QUALITY.of(summary), position_table(summary), MEMORY.of(summary), failure_table(summary),
    ]  # fmt: skip


def _pictures(summary: Summary, crossed: Crossovers, folder: Path, prefix: str) -> dict[str, list[str]]:
    """Links to the pictures, by the title of the table that they follow."""
    made = {
        "Time": [
            ("cost", plots.cost_figure(summary, *crossed), "Prefill time against prompt length"),
            ("share", plots.share_figure(summary), "Attention's share of prefill against prompt length"),
        ],
        "Quality": [("quality", plots.quality_figure(summary), "Quality against prefill time")],
    }
    return {
        title: [
            f"![{alt}]({plots.save(figure, folder / f'{prefix}{name}.png').name})\n"
            for name, figure, alt in some
            if figure
        ]
        for title, some in made.items()
    }


def _sections(tables: Iterable[Table], pictures: Mapping[str, list[str]]) -> list[str]:
    parts = []
    for table in tables:
        parts += [table.to_markdown()] if table else []
        parts += pictures.get(table.title, [])
    return parts
