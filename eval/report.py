"""What a person reads after a comparison: tables on the terminal, and report.md with the same tables and the plots.

Every table is made once, as text cells, and printed twice: by rich and as Markdown.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import rich.box
import rich.table
from rich.console import Console
from rich.text import Text

from eval import plots
from eval.crossover import crossover_tokens, limiting_share
from eval.fit import Crossover, measured_crossover
from eval.flops.closed_form import NOT_LINEAR
from eval.flops.traffic import Storage, weight_bytes
from eval.hardware import CARDS, Card
from eval.records import Record
from eval.roofline import Assumptions, floor_ms
from eval.summary import FULL, NO_IMPL, Gain, Spread, Summary, summarise
from refmodel.config import ModelConfig
from refmodel.presets import preset

FLOOR_MODEL, FLOOR_CARD = "qwen3-30b-a3b", "r9700"
FLOOR_UNDER = Assumptions(storage=Storage(weights="4.5bit"))  # bf16 weights do not fit the card
FLOOR_LENGTHS = tuple(1024 << k for k in range(7))
COUNTS = ("useful", "executed")
NOTHING = "-"

CONVENTION = """\
Convention `layers`: the linear part is attention projections, router, and experts or feed-forward of all layers, \
2 FLOPs per active parameter and token; the head, on the last token only, is counted apart. Attention is scores \
and values over exact causal pairs. *Useful* FLOPs are those of visible pairs, *executed* those of the tiles that ran. \
The timed linear part is the whole prefill without the attention kernels: norms, rotary positions and the head are in \
it."""


@dataclass(frozen=True)
class Table:
    """Cells as text, figures to the right; the columns in `words` hold words."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: tuple[int, ...] = (0,)

    def __bool__(self) -> bool:
        return bool(self.rows)

    def to_markdown(self) -> str:
        rule = ("---" if place in self.words else "---:" for place in range(len(self.header)))
        lines = [map(_escape, self.header), rule, *(map(_escape, row) for row in self.rows)]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"## {self.title}\n\n" + (f"{self.note}\n\n" if self.note else "") + body + "\n"

    def to_rich(self) -> rich.table.Table:
        table = rich.table.Table(
            title=Text(self.title, "bold"), caption=Text(self.note.replace("*", "").replace("`", ""), "dim"),
            title_justify="left", caption_justify="left", box=rich.box.SIMPLE_HEAD, padding=0, show_edge=False,
        )  # fmt: skip
        for place, name in enumerate(self.header):
            table.add_column(Text(name), justify="left" if place in self.words else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def render_terminal(records: Iterable[Record], console: Console, *, config: ModelConfig) -> None:
    """The tables that answer the four questions: cost, what is gained, where it crosses, what it is worth."""
    for summary in summarise(records, config):
        measured, analytic = crossovers(summary)
        tables = (
            time_table(summary), flops_table(summary), gain_table(summary, "whole"), gain_table(summary, "attention"),
            crossover_table(summary, measured, analytic), quality_table(summary), failure_table(summary),
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


# ------------------------------------------------------------------------------------------------------ tables


def time_table(summary: Summary) -> Table:
    """The whole and its two parts."""
    header = ("layout", "tokens", "whole", "linear", "attention", "share", "by FLOPs")
    rows = [
        (
            row.layout, count(row.tokens), spread(row.whole_ms) if row.status in ("ok", None) else row.status,
            duration(row.linear_ms and row.linear_ms.median), duration(row.attention_ms and row.attention_ms.median),
            percent(row.share_measured), percent(row.share_predicted),
        )
        for row in summary.rows
        if row.status or row.attention_ms
    ]  # fmt: skip
    note = "One prefill, last-token logits: median (fastest-slowest). The parts are timed apart, attention per layer. \
Share: attention / (attention + linear), of the time and of the useful FLOPs."
    return Table("Time", header, tuple(rows), note)


def flops_table(summary: Summary) -> Table:
    """What was counted."""
    header = ("layout", "tokens", "linear", *(f"{part}\n{kind}" for part in ("attention", "whole") for kind in COUNTS))
    rows = []
    for row in summary.rows:
        if row.useful and row.executed:
            counts = (row.useful.linear, row.useful.attention, row.executed.attention, row.useful.whole)
            rows.append((row.layout, count(row.tokens), *map(flops, (*counts, row.executed.whole))))
    heads = dict.fromkeys(flops(row.useful.head) for row in summary.rows if row.useful)
    note = f"Useful: visible pairs. Executed: tiles that ran. The whole includes {', '.join(heads)} of the head."
    return Table("FLOPs", header, tuple(rows), note)


def gain_table(summary: Summary, part: Literal["whole", "attention"]) -> Table:
    """Speed-up over full attention beside the FLOP reduction that should have bought it."""
    rows = []
    for row in summary.rows:
        gain: Gain = getattr(row, f"{part}_gain")
        if row.layout != FULL and gain != Gain():
            factors = map(factor, (gain.speed_up, gain.useful_reduction, gain.executed_reduction))
            rows.append((row.layout, count(row.tokens), *factors, percent(gain.realisation)))
    header = ("layout", "tokens", "speed-up", "useful FLOPs", "executed FLOPs", "realisation")
    title = f"Gain over full attention, {'whole prefill' if part == 'whole' else 'attention part'}"
    note = "Time and FLOPs of full attention over the layout's; realisation = speed-up / useful FLOP reduction."
    return Table(title, header, tuple(rows), note)


def crossover_table(summary: Summary, measured: Mapping[str, Crossover], analytic: Mapping[str, int | None]) -> Table:
    """Where attention takes as long as the linear layers."""
    rows = []
    for layout in summary.layouts:
        fit, by_flops = measured[layout], analytic[layout]
        limit = percent(limiting_share(summary.config.with_layout(layout)))
        found, interval, basis = NOTHING if fit.linear_ms is None else "none", NOTHING, fit.reason
        if fit.tokens is not None:
            found, interval = fitted(fit.tokens), f"{fitted(fit.low)}-{fitted(fit.high)}"
            span = f"{count(fit.lengths[0])}-{count(fit.lengths[-1])}"
            basis = f"extrapolated from {span}" if fit.extrapolated else f"within {span}"
        rows.append((layout, f"never ({limit})" if by_flops is None else count(by_flops), found, interval, basis))
    header = ("layout", "by FLOPs", "measured", "90 % interval", "basis")
    note = "Tokens from which attention costs more than all linear layers; never: with the share that it tends to. \
Measured: linear = a·N and attention = alpha·(N - offset) + beta·N², the offset known from the pattern; bootstrap."
    return Table("Crossover", header, tuple(rows), note, words=(0, 4))


def quality_table(summary: Summary) -> Table:
    """What a layout costs in prediction."""
    found = [(row, row.quality) for row in summary.rows if row.quality]
    reference = {row.tokens: quality.perplexity for row, quality in found if row.layout == FULL}
    rows = [
        (
            row.layout, count(row.tokens), f"{quality.perplexity:.3f}",
            signed_percent(quality.perplexity / reference[row.tokens] - 1) if row.tokens in reference else NOTHING,
            f"{quality.kl_nats:.4f}", percent(quality.top1_agreement),
        )
        for row, quality in found
    ]  # fmt: skip
    header = ("layout", "tokens", "perplexity", "against full", "KL (nats)", "same top token")
    texts = ", ".join(dict.fromkeys(quality.text for _, quality in found))
    note = f"Text: {texts}, read in one pass (stride = length); KL(full || layout), mean over the tokens."
    return Table("Quality", header, tuple(rows), note)


def position_table(summary: Summary) -> Table:
    """KL along the text at the longest length: a window costs nothing before its end."""
    found = [row for row in summary.rows if row.quality and row.quality.by_position and row.layout != FULL]
    longest = max((row.tokens for row in found), default=0)
    found = [row for row in found if row.tokens == longest]
    buckets = found[0].quality.by_position if found else ()
    header = ("layout", *(f"{count(bucket['first'])} to {count(bucket['last'])}" for bucket in buckets))
    rows = [(row.layout, *(f"{bucket['kl_nats']:.4f}" for bucket in row.quality.by_position)) for row in found]
    return Table("KL from full attention by position (nats)", header, tuple(rows))


def memory_table(summary: Summary) -> Table:
    """Of whole prefills."""
    rows = [
        (row.layout, count(row.tokens), size(row.memory.planned_bytes), size(row.memory.rss_peak_bytes))
        for row in summary.rows
        if row.memory
    ]
    note = "Planned: the compiler's arguments, temporaries and outputs. Process: peak resident memory, all included."
    return Table("Peak memory", ("layout", "tokens", "planned", "process"), tuple(rows), note)


def failure_table(summary: Summary) -> Table:
    """Cells that were tried and gave no figure."""
    rows = [
        (f"{r['kind']} {r['layout']}", count(r["tokens"]), r["status"], r.get("error", "")) for r in summary.failures
    ]
    return Table("Failed cells", ("cell", "tokens", "status", "error"), tuple(rows), words=(0, 2, 3))


def floor_table(layouts: Sequence[str]) -> Table:
    """The floor of `FLOOR_MODEL` on `FLOOR_CARD` for full attention and the layouts that fit its layer count."""
    config, card = preset(FLOOR_MODEL), CARDS[FLOOR_CARD]
    models, left_out = {FULL: config}, []
    for layout in layouts:
        try:
            models[layout] = config.with_layout(layout)
        except ValueError:
            left_out.append(layout)
    rows = []
    for tokens in FLOOR_LENGTHS:
        parts = {layout: floor_ms(model, tokens, card, FLOOR_UNDER) for layout, model in models.items()}
        linear = sum(ms for name, ms in parts[FULL].items() if name not in NOT_LINEAR)
        attention = [ms["attention"] for ms in parts.values()]
        pairs = ((duration(ms), percent(ms / (ms + linear))) for ms in attention)
        rows.append((count(tokens), duration(linear), *itertools.chain(*pairs)))
    header = ("tokens", "linear", *(cell for layout in models for cell in (f"{layout}\nattention", "share")))
    note = _floor_note(config, card, parts[FULL]["head"])
    if left_out:
        note += f" Left out, for they do not fit {config.n_layers} layers: {', '.join(left_out)}."
    return Table(f"Floor: {config.name} on {card.title}", header, tuple(rows), note, words=())


def _floor_note(config: ModelConfig, card: Card, head_ms: float) -> str:
    peak, bandwidth = card.peak_flops_per_s() / 1e12, card.bandwidth_bytes_per_s / 1e9
    stored, in_bf16 = (size(weight_bytes(config, name)) for name in (FLOOR_UNDER.storage.weights, "bf16"))
    return f"**A floor, not a measurement**: per component the larger of FLOPs over peak ({peak:.0f} TFLOP/s, bf16) \
and bytes over bandwidth ({bandwidth:.0f} GB/s). Convention `layers`; the head on the last token adds \
{duration(head_ms)}. Cache in bf16, weights of 4.5 bit ({stored}): the {in_bf16} of bf16 exceed the card's \
{size(card.memory_bytes)}."


# ------------------------------------------------------------------------------------------------- for the eye


def number(value: float) -> str:
    """Three significant digits at least, thousands separated: 0.0123, 1.23, 12.3, 1,235."""
    decimals = 2 - math.floor(math.log10(abs(float(f"{value:.3g}")))) if value else 0  # rounded first: 9.999 is 10.0
    return f"{value:,.{max(decimals, 0)}f}"


def _scaled(value: float | None, units: Mapping[float, str]) -> str:
    """In the largest unit that the value reaches, or the smallest there is."""
    if value is None:
        return NOTHING
    scale = max((scale for scale in units if scale <= abs(value)), default=min(units))
    return f"{number(value / scale)} {units[scale]}"


def duration(ms: float | None) -> str:
    return _scaled(ms, {1: "ms", 1e3: "s"})


def flops(value: float | None) -> str:
    return _scaled(value, {1: "FLOP", 1e3: "kFLOP", 1e6: "MFLOP", 1e9: "GFLOP", 1e12: "TFLOP", 1e15: "PFLOP"})


def size(value: float | None) -> str:
    return _scaled(value, {1: "B", 1e3: "kB", 1e6: "MB", 1e9: "GB"})


def spread(ms: Spread | None) -> str:
    """`1.23 s (1.20-1.29)`, all in the unit of the median."""
    if ms is None:
        return NOTHING
    scale, unit = (1e3, "s") if ms.median >= 1e3 else (1, "ms")
    middle, low, high = (number(value / scale) for value in (ms.median, ms.low, ms.high))
    return f"{middle} {unit} ({low}-{high})"


def count(value: int) -> str:
    return f"{value:,}"


def fitted(value: float) -> str:
    """A number of tokens that is known to three digits at best."""
    return "unbounded" if math.isinf(value) else f"{float(f'{value:.3g}'):,.0f}"


def factor(value: float | None) -> str:
    return NOTHING if value is None else f"{number(value)}x"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f} %"


def signed_percent(change: float) -> str:
    return f"{100 * change:+.2f} %"


def _escape(cell: str) -> str:
    """For a cell of a Markdown table."""
    for plain, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("_", "\\_"), ("\n", " ")):
        cell = cell.replace(plain, safe)
    return cell
