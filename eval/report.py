"""What a person reads after a comparison: tables on the terminal, and report.md with the same tables and the plots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from eval import plots
from eval.crossover import crossover_tokens
from eval.fit import Crossover, measured_crossover
from eval.records import Record
from eval.summary import NO_IMPL, Summary, summarise
from eval.tables import (
    apart_table,
    break_even_table,
    crossover_table,
    failure_table,
    floor_table,
    flops_table,
    gain_table,
    memory_table,
    position_table,
    quality_table,
    time_table,
    utilisation_table,
)
from refmodel.config import ModelConfig

CONVENTION = """\
Convention `layers`: the linear part is attention projections, router, and experts or feed-forward of all layers, \
2 FLOPs per active parameter and token; the head, on the last token only, is counted apart. Attention is scores \
and values over exact causal pairs. *Useful* FLOPs are those of visible pairs, *executed* those of the tiles that ran. \
The timed linear part is the whole prefill without the attention kernels: norms, rotary positions and the head are in \
it."""


def render_terminal(records: Iterable[Record], console: Console, *, config: ModelConfig) -> None:
    """The tables that answer the four questions: cost, what is gained, where it crosses, what it is worth."""
    for summary in summarise(records, config):
        measured, analytic = crossovers(summary)
        tables = (
            time_table(summary), flops_table(summary), gain_table(summary, "whole"), gain_table(summary, "attention"),
            crossover_table(summary, measured, analytic), break_even_table(summary), utilisation_table(summary),
            apart_table(summary), quality_table(summary), failure_table(summary),
        )  # fmt: skip
        console.print(f"\n{_heading(summary)}", style="bold", highlight=False)
        for table in filter(None, tables):
            console.print(table.to_rich(), "")
    console.print(floor_table(_layouts(records, config)).to_rich())


def write_report(folder: Path, records: Iterable[Record], *, config: ModelConfig, command: str) -> Path:
    """report.md and its PNG files in `folder`; returns the path of report.md."""
    folder.mkdir(parents=True, exist_ok=True)
    records = list(records)
    summaries = summarise(records, config)
    parts = [f"# Attention variants in prefill: {config.name}\n", _ran_on(records, config), CONVENTION + "\n"]
    for place, summary in enumerate(summaries):
        if len(summaries) > 1:
            parts.append(f"# {_heading(summary)}\n")
        parts += _sections(summary, folder, f"{place + 1}-" if len(summaries) > 1 else "")
    parts += [floor_table(_layouts(records, config)).to_markdown()]
    parts += [f"## How to reproduce\n\n```\n{command}\n```\n\nThe records are in `records.jsonl` beside this file.\n"]
    path = folder / "report.md"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def crossovers(summary: Summary) -> tuple[dict[str, Crossover], dict[str, int | None]]:
    """Per layout: the measured crossover and the analytic one."""
    measured = {layout: measured_crossover(summary, layout) for layout in summary.layouts}
    return measured, {layout: crossover_tokens(summary.config.with_layout(layout)) for layout in summary.layouts}


def _sections(summary: Summary, folder: Path, prefix: str) -> list[str]:
    measured, analytic = crossovers(summary)

    def picture(name: str, figure, alt: str) -> str:
        return f"![{alt}]({plots.save(figure, folder / f'{prefix}{name}.png').name})\n" if figure else ""

    parts = [
        time_table(summary),
        picture("cost", plots.cost_figure(summary, measured, analytic), "Prefill time against prompt length"),
        picture("share", plots.share_figure(summary), "Attention's share of prefill against prompt length"),
        flops_table(summary),
        gain_table(summary, "whole"),
        gain_table(summary, "attention"),
        crossover_table(summary, measured, analytic),
        break_even_table(summary),
        utilisation_table(summary),
        apart_table(summary),
        quality_table(summary),
        picture("quality", plots.quality_figure(summary), "Quality against prefill time"),
        position_table(summary),
        memory_table(summary),
        failure_table(summary),
    ]
    texts = [part if isinstance(part, str) else part.to_markdown() for part in parts if part]
    return [text for text in texts if text]


def _heading(summary: Summary) -> str:
    return f"{summary.config.name} on {summary.device}, {summary.dtype}, attention {summary.impl or 'not run'}"


def _layouts(records: Iterable[Record], config: ModelConfig) -> list[str]:
    return list(dict.fromkeys(layout for summary in summarise(records, config) for layout in summary.layouts))


def _ran_on(records: Sequence[Record], config: ModelConfig) -> str:
    """What was run on what: once for each environment among the records."""
    environments: dict[str, list[Record]] = {}
    for record in records:
        environments.setdefault(json.dumps(record["environment"], sort_keys=True), []).append(record)
    return "\n\n".join(_environment(found, config) for found in environments.values()) + "\n"


def _environment(records: Sequence[Record], config: ModelConfig) -> str:
    where = {name: "unknown" if value is None else value for name, value in records[0]["environment"].items()}

    def distinct(field: str, but: str = "") -> str:
        values = dict.fromkeys(str(record.get(field, "unknown")) for record in records)
        return ", ".join(value for value in values if value != but)

    times = sorted(record["time"] for record in records)
    changed = " with local changes" if where.get("git_dirty") is True else ""
    lines = {
        "model": f"{distinct('model')}, {config.n_layers} layers, {distinct('weights')} weights, {distinct('dtype')}",
        "device": f"{where['device_kind']} ({where['cpu']}, {where['cores']} cores)",
        "attention": distinct("impl", but=NO_IMPL),
        "versions": ", ".join(f"{name} {where[name]}" for name in ("python", "jax", "jaxlib", "flax")),
        "commit": f"{where['git_commit']}{changed}",
        "XLA flags": where["xla_flags"] or "none",
        "measured": f"{times[0]} to {times[-1]}, {len(records)} records",
    }
    return "\n".join(f"* {name}: {value}" for name, value in lines.items())
