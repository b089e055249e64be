"""The tables of a comparison, made once as text cells and printed twice: by rich and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import rich.box
import rich.table
from rich.text import Text

from eval.cost.break_even import break_even_tokens
from eval.cost.cards import card_of_device
from eval.cost.crossover import limiting_share
from eval.report.crossover_fit import Crossover
from eval.report.layout_result import Gain
from eval.report.linear_times import foreign_lengths
from eval.report.number_format import (
    NOTHING,
    count,
    duration,
    factor,
    fitted,
    flops,
    percent,
    signed_percent,
    size,
    spread,
)
from eval.report.summary import Summary

COUNTS = ("useful", "executed")


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

    def without_constant(self, name: str) -> Table:
        """The table without the column `name` where all its cells are the same, which the title says then."""
        place = self.header.index(name) if name in self.header else None
        values = {row[place] for row in self.rows} if place is not None else set()
        if len(values) != 1:
            return self
        header, *rows = (line[:place] + line[place + 1 :] for line in (self.header, *self.rows))
        words = tuple(word - (word > place) for word in self.words)
        return Table(f"{self.title}: {values.pop()} {name}", header, tuple(rows), self.note, words)

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
            words = place in self.words
            table.add_column(Text(name), justify="left" if words else "right", no_wrap=not words, overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def time_table(summary: Summary) -> Table:
    """The whole and its two parts."""
    header = ("layout", "tokens", "whole", "linear", "attention", "time\nshare", "FLOP\nshare")
    rows = [
        (
            row.name, count(row.tokens), spread(row.whole_ms) if row.status in ("ok", None) else row.status,
            duration(row.linear_ms and row.linear_ms.median), duration(row.attention_ms and row.attention_ms.median),
            percent(row.share_measured), percent(row.share_predicted),
        )
        for row in summary.results
        if row.status or row.attention_ms
    ]  # fmt: skip
    note = "One prefill, last-token logits: median (fastest-slowest). The parts are timed apart, attention per layer. \
Shares: attention / (attention + linear), of the time and of the useful FLOPs."
    return Table("Time", header, tuple(rows), note)


def flops_table(summary: Summary) -> Table:
    """What was counted."""
    header = ("layout", "tokens", "linear", *(f"{part}\n{kind}" for part in ("attention", "whole") for kind in COUNTS))
    rows = []
    for row in summary.results:
        if row.useful:
            executed = (row.executed.attention, row.executed.whole) if row.executed else (None, None)
            counts = (row.useful.linear, row.useful.attention, executed[0], row.useful.whole, executed[1])
            rows.append((row.name, count(row.tokens), *map(flops, counts)))
    heads = dict.fromkeys(flops(row.useful.head) for row in summary.results if row.useful)
    note = f"Useful: visible pairs. Executed: tiles that ran. Attention includes choosing the pairs. \
The whole includes {', '.join(heads)} of the head."
    return Table("FLOPs", header, tuple(rows), note)


def gain_table(summary: Summary, part: Literal["whole", "attention"]) -> Table:
    """Speed-up over full attention beside the FLOP reduction that should have bought it."""
    rows = []
    for row in summary.results:
        gain: Gain = getattr(row, f"{part}_gain")
        if not row.layout.is_full and gain != Gain():
            factors = map(factor, (gain.speed_up, gain.useful_reduction, gain.executed_reduction))
            rows.append((row.name, count(row.tokens), *factors, percent(gain.realisation)))
    header = ("layout", "tokens", "speed-up", "useful\nFLOPs", "executed\nFLOPs", "realisation")
    title = f"Gain over full attention, {'whole prefill' if part == 'whole' else 'attention part'}"
    note = "Time and FLOPs of full attention over the layout's; realisation = speed-up / useful FLOP reduction."
    return Table(title, header, tuple(rows), note)


def utilisation_table(summary: Summary) -> Table:
    """How much of the card's peak a whole prefill uses; nothing for devices whose peak is not known."""
    card = card_of_device(next((r.run.environment.device_kind for r in summary.records), ""))
    dtype = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}.get(summary.dtype, summary.dtype)
    if card is None or dtype not in card.peak:
        return Table("Utilisation", (), ())
    peak = card.peak_flops_per_s(dtype)
    rows = []
    for row in summary.results:
        if row.whole_ms and row.useful:
            rate = row.useful.whole / row.whole_ms.median * 1e3
            rows.append((row.name, count(row.tokens), row.impl, f"{rate / 1e12:.0f}", percent(rate / peak)))
    note = f"Useful FLOPs of the whole prefill per second, and over the {peak / 1e12:.0f} TFLOP/s of the {card.title} \
in {dtype} ({card.peak[dtype].source})."
    return Table("Utilisation", ("layout", "tokens", "attention by", "TFLOP/s", "of peak"), tuple(rows), note, (0, 2))


def break_even_table(summary: Summary) -> Table:
    """From which length on a layout is worth it."""
    rows = []
    for layout in summary.layouts:
        if layout.is_full:
            continue
        by_flops = break_even_tokens(summary.config, summary.under(layout))
        rows_with_less = (row for row in summary.of(layout.name) if (row.attention_gain.useful_reduction or 1) > 1)
        gains = [(row.tokens, row.whole_gain.speed_up) for row in rows_with_less if row.whole_gain.speed_up]
        slower = max((tokens for tokens, speed_up in gains if speed_up <= 1), default=0)
        faster = [count(tokens) for tokens, _ in gains if tokens > slower]
        measured = (faster[0] if faster else "never") if gains else NOTHING
        rows.append((layout.name, "never" if by_flops is None else count(by_flops), measured))
    note = "Tokens from which on a layout asks for fewer attention FLOPs than full attention, and the first measured \
length of those from which on its whole prefill is faster."
    return Table("Break-even", ("layout", "by FLOPs", "measured"), tuple(rows), note)


def apart_table(summary: Summary) -> Table:
    """The sum of layers timed apart beside the whole prefill, where both were measured."""
    whole = {(row.name, row.tokens): row.whole_ms for row in summary.results if row.whole_ms}
    rows = []
    for r in summary.records:
        if (r.kind, r.status) == ("apart", "ok") and r.timing:
            estimate, spread_ms = r.timing.samples_ms[0], whole.get((r.layout, r.tokens))
            measured = spread_ms and spread_ms.median
            error = signed_percent(estimate / measured - 1) if measured else NOTHING
            rows.append((r.layout, count(r.tokens), duration(estimate), duration(measured), error))
    note = "Each distinct layer timed once and multiplied, plus embedding and head; the error is against the whole \
prefill."
    return Table("Layers timed apart", ("layout", "tokens", "sum of layers", "whole", "error"), tuple(rows), note)


def crossover_table(summary: Summary, measured: Mapping[str, Crossover], analytic: Mapping[str, int | None]) -> Table:
    """Where attention takes as long as the linear layers."""
    rows = []
    for layout in summary.layouts:
        fit, by_flops = measured[layout.name], analytic[layout.name]
        limit = percent(limiting_share(summary.under(layout)))
        is_told = fit.linear_ms is not None and not fit.contradicted_at
        found, interval, basis = "none" if is_told else NOTHING, NOTHING, fit.reason
        if fit.tokens is not None:
            found, interval = fitted(fit.tokens), f"{fitted(fit.low)}-{fitted(fit.high)}"
            span = f"{count(fit.lengths[0])}-{count(fit.lengths[-1])}"
            basis = f"extrapolated from {span}" if fit.extrapolated else f"within {span}"
        rows.append((layout.name, f"never ({limit})" if by_flops is None else count(by_flops), found, interval, basis))
    header = ("layout", "by FLOPs", "measured", "interval\n(90 %)", "basis")
    note = "Tokens from which attention costs more than all linear layers; never: with the share that it tends to. \
Measured: linear = a·N + c and attention = alpha·(N - offset) + beta·N², the offset known from the pattern; bootstrap."
    foreign = ", ".join(map(count, foreign_lengths(summary)))
    if foreign:
        note += f" Left out: {foreign} tokens, where the linear layers alone take longer than the whole prefill."
    return Table("Crossover", header, tuple(rows), note, words=(0, 4))


def quality_table(summary: Summary) -> Table:
    """What a layout costs in prediction."""
    found = [(row, row.quality) for row in summary.results if row.quality]
    rows = [
        (
            row.name, count(row.tokens), f"{quality.perplexity:.3f}",
            NOTHING if row.perplexity_change is None else signed_percent(row.perplexity_change),
            f"{quality.kl_nats:.4f}", percent(quality.top1_agreement),
        )
        for row, quality in found
    ]  # fmt: skip
    header = ("layout", "tokens", "perplexity", "against full", "KL (nats)", "same top token")
    texts = ", ".join(dict.fromkeys(row.text for row, _ in found))
    note = f"Text: {texts}, read in one pass (stride = length); KL(full || layout), mean over the tokens."
    return Table("Quality", header, tuple(rows), note)


def position_table(summary: Summary) -> Table:
    """KL along the text at the longest length: a window costs nothing before its end."""
    found = [row for row in summary.results if row.quality and row.quality.by_position and not row.layout.is_full]
    longest = max((row.tokens for row in found), default=0)
    found = [row for row in found if row.tokens == longest]
    buckets = found[0].quality.by_position if found else ()
    header = ("layout", *(f"{count(bucket.first)} to {count(bucket.last)}" for bucket in buckets))
    rows = [(row.name, *(f"{bucket.kl_nats:.4f}" for bucket in row.quality.by_position)) for row in found]
    return Table("KL from full attention by position (nats)", header, tuple(rows))


def memory_table(summary: Summary) -> Table:
    """Of whole prefills."""
    rows = [
        (row.name, count(row.tokens), size(row.memory.planned_bytes), size(row.memory.rss_peak_bytes))
        for row in summary.results
        if row.memory
    ]
    note = "Planned: the compiler's arguments, temporaries and outputs. Process: peak resident memory, all included."
    return Table("Peak memory", ("layout", "tokens", "planned", "process"), tuple(rows), note)


def failure_table(summary: Summary) -> Table:
    """Cells that were tried and gave no figure."""
    rows = [(f"{r.kind} {r.layout}", count(r.tokens), r.status, r.error) for r in summary.failures]
    return Table("Failed cells", ("cell", "tokens", "status", "error"), tuple(rows), words=(0, 2, 3))


def _escape(cell: str) -> str:
    """For a cell of a Markdown table."""
    for plain, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("_", "\\_"), ("\n", " ")):
        cell = cell.replace(plain, safe)
    return cell
