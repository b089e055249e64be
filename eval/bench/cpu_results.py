"""What `make compare` found on a CPU, as Markdown: every table for docs/results.md, five rows for the README."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attention.full import FULL
from eval.measure.records import file
from eval.report.number_format import NOTHING, count, duration, factor, percent, signed_percent
from eval.report.run_facts import crossovers
from eval.report.summary import Summary, summarise
from eval.report.table import Table
from eval.report.tables import ATTENTION_GAIN, QUALITY, SPEED_AND_QUALITY, TIME, WHOLE_GAIN, crossover_table
from refmodel.presets import preset

SOURCE: Final = Path("eval/results/smollm2-cpu/records.jsonl")
FIVE: Final = (FULL, "5*swa(1024)+full", "swa(1020, sinks=4)", "moba(block=256, topk=4)",
               "evict(tova, budget=1024, chunk=512)")  # fmt: skip
"""The README's rows: the reference, a hybrid, a window with sinks, chosen blocks, an eviction."""


def cpu_summary(root: Path) -> Summary:
    """Of the kept records under `root`."""
    (summary,) = summarise(file.read(root / SOURCE), preset("smollm2-135m"))
    return summary


def cpu_figures(summary: Summary) -> str:
    """The tables of docs/results.md, after a line that says of what they are."""
    at_longest = summary.at_longest()
    tables = (
        SPEED_AND_QUALITY.of(at_longest),
        TIME.of(at_longest),
        WHOLE_GAIN.of(at_longest),
        ATTENTION_GAIN.of(at_longest),
        crossover_table(summary, *crossovers(summary)),
        QUALITY.of(summary),
    )
    picture = f"![Prefill time against prompt length](../{SOURCE.parent}/cost.png)\n"
    parts = (table.to_markdown().replace("## ", "### ", 1) for table in tables)
    return "\n".join([f"{_of_what(summary)}, from the records in `{SOURCE}`:\n", picture, *parts])


def found_table(summary: Summary) -> Table:
    """Five layouts: what attention's time and FLOPs became, where they cross the linear layers', what was lost."""
    longest = {row.name: row for row in summary.at_longest().results}
    read = {row.name: row.quality for row in summary.results if row.quality}
    crossed = {row[0]: row for row in crossover_table(summary, *crossovers(summary)).rows}
    rows = []
    for layout in FIVE:
        row, (_, by_flops, measured, *_) = longest[layout], crossed[layout]
        gain, loss = row.attention_gain, read[layout].perplexity / read[FULL].perplexity - 1
        gained = (factor(gain.speed_up), factor(gain.useful_reduction), percent(gain.realisation))
        time = duration(row.attention_ms.median if row.attention_ms else None)
        cells = gained if layout != FULL else (NOTHING,) * 3
        rows.append((layout, time, *cells, by_flops, measured, signed_percent(loss) if loss else NOTHING))
    header = ("layout", "attention", "faster", "fewer FLOPs", "realised", "N by FLOPs", "N measured", "perplexity")
    tokens, text = longest[FULL].tokens, next(row.tokens for row in summary.results if row.quality)
    note = f"{_of_what(summary)}: attention over {count(tokens)} tokens, perplexity over {count(text)}. \
N: tokens from which attention costs more than all linear layers; never: with the share that it tends to."
    return Table("Five layouts", header, tuple(rows), note)


def _of_what(summary: Summary) -> str:
    where = summary.records[0].run.environment
    return f"{summary.config.name} in {summary.dtype} on {where.cores} cores of an {where.cpu}, jax {where.jax}"
