"""The tables of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from attention.shorthand import SHORT_DTYPES
from eval.cost.break_even import break_even_tokens
from eval.cost.cards import card_of_device
from eval.cost.crossover import crossings, limiting_share
from eval.cost.sign_changes import in_words
from eval.report.crossover_fit import Crossover
from eval.report.layout_result import Gain, LayoutResult
from eval.report.linear_times import foreign_lengths
from eval.report.metrics import GAIN_TITLES, METRICS, WORTH, Metric
from eval.report.number_format import NOTHING, count, duration, fitted, flops, percent, signed_percent
from eval.report.summary import Summary
from eval.report.table import Table


@dataclass(frozen=True)
class MetricTable:
    """A row for each layout and length that `shows` lets in, a column for each metric whose table this is.

    `note` says what they mean; `with_impl` names what ran, `with_samples` tells of how many samples the times are;
    metrics of other tables that are named `before` stand before its own.
    """

    title: str
    shows: Callable[[LayoutResult], bool]
    note: Callable[[Summary], str]
    with_impl: bool = False
    with_samples: bool = False
    before: tuple[str, ...] = ()

    def of(self, summary: Summary) -> Table:
        """Empty where there is nothing to show."""
        own = [metric for metric in METRICS.values() if metric.table == self.title]
        metrics = [*(METRICS[name] for name in self.before), *own]
        rows = tuple(self._row(one, metrics) for one in summary.results if self.shows(one))
        words = ("attention by",) if self.with_impl else ()
        samples = ("samples",) if self.with_samples else ()
        header = ("layout", "tokens", *words, *(metric.title for metric in metrics), *samples)
        places = (0, 2) if self.with_impl else (0,)
        return Table(self.title, header, rows, self.note(summary) if rows else "", places, keys=(1,))

    def _row(self, one: LayoutResult, metrics: list[Metric]) -> tuple[str, ...]:
        words = (one.impl,) if self.with_impl else ()
        samples = (_samples(one),) if self.with_samples else ()
        return (one.name, count(one.tokens), *words, *(metric.cell(one) for metric in metrics), *samples)


def _samples(one: LayoutResult) -> str:
    """`3/5/15`: of the whole, the linear layers and attention."""
    return "/".join(str(ms.samples) if ms else NOTHING for ms in (one.whole_ms, one.linear_ms, one.attention_ms))


def _one_prefill(summary: Summary) -> str:
    return "One prefill" + (f" of {summary.batch} prompts at once" if summary.batch > 1 else "")


def _heads(summary: Summary) -> str:
    heads = dict.fromkeys(flops(one.useful.head) for one in summary.results if one.useful)
    return (
        "Useful: visible pairs. Executed: tiles that ran. Attention includes choosing the pairs. \
The whole includes "
        + ", ".join(heads)
        + " of the head."
    )


def _peak(summary: Summary) -> str:
    card = card_of_device(summary.records[0].run.environment.device_kind)
    if card is None:
        return ""
    dtype = SHORT_DTYPES.get(summary.dtype, summary.dtype)
    peak = card.peak[dtype]
    return f"Useful FLOPs of the whole prefill per second, and over the {peak.value / 1e12:.0f} TFLOP/s of the \
{card.title} in {dtype} ({peak.source})."


def _texts(summary: Summary) -> str:
    texts = dict.fromkeys(one.text for one in summary.results if one.quality)
    return f"Text: {', '.join(texts)}, read in one pass (stride = length); KL(full || layout), mean over the tokens."


def _gain(part: str) -> MetricTable:
    def shows(one: LayoutResult) -> bool:
        return not one.layout.is_full and getattr(one, f"{part}_gain") != Gain()

    note = "Time and FLOPs of full attention over the layout's; realisation = speed-up / useful FLOP reduction."
    return MetricTable(GAIN_TITLES[part], shows, lambda _: note)


SPEED_AND_QUALITY: Final = MetricTable(
    WORTH,
    lambda one: bool(one.whole_ms and one.read),
    lambda summary: (
        f"{_one_prefill(summary)}, last-token logits: median (fastest-slowest), and what was lost on the longest text "
        "that all have read in one pass; KL(full || layout), mean over its tokens."
    ),
    before=("prefill_ms", "prefill_tokens_per_s", "speed_up", "useful_reduction"),
)
TIME: Final = MetricTable(
    "Time",
    lambda one: bool(one.status or one.attention_ms),
    lambda summary: (
        f"{_one_prefill(summary)}, last-token logits: median (fastest-slowest). The parts are timed apart, attention "
        "per layer. Shares: attention / (attention + linear), of the time and of the useful FLOPs. Samples: of whole, "
        "linear, attention (the fewest of its layers)."
    ),
    with_samples=True,
)
FLOPS: Final = MetricTable("FLOPs", lambda one: one.useful is not None, _heads)
WHOLE_GAIN, ATTENTION_GAIN = _gain("whole"), _gain("attention")
UTILISATION: Final = MetricTable("Utilisation", lambda one: one.peak_share is not None, _peak, with_impl=True)
QUALITY: Final = MetricTable("Quality", lambda one: one.quality is not None, _texts)
MEMORY: Final = MetricTable(
    "Peak memory",
    lambda one: one.memory is not None,
    lambda _: (
        "Planned: the compiler's arguments, temporaries and outputs. Process: peak resident memory, all included."
    ),
)


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
            measured = spread_ms.median if spread_ms else None
            error = signed_percent(estimate / measured - 1) if measured else NOTHING
            rows.append((r.layout, count(r.tokens), duration(estimate), duration(measured), error))
    note = "Each distinct layer timed once and multiplied, plus embedding and head; the error is against the whole \
prefill."
    return Table(
        "Layers timed apart", ("layout", "tokens", "sum of layers", "whole", "error"), tuple(rows), note, keys=(1,)
    )


def crossover_table(summary: Summary, measured: Mapping[str, Crossover], analytic: Mapping[str, int | None]) -> Table:
    """Where attention takes as long as the linear layers."""
    rows = []
    for layout in summary.layouts:
        fit, by_flops = measured[layout.name], analytic[layout.name]
        limit = percent(limiting_share(summary.under(layout)))
        is_told = fit.linear_ms is not None and not fit.contradicted_at
        found, interval, basis = "none" if is_told else NOTHING, NOTHING, fit.reason
        if fit.tokens is not None:
            found, interval = fitted(fit.tokens), "-".join(map(fitted, fit.interval))
            span = f"{count(fit.lengths[0])}-{count(fit.lengths[-1])}"
            basis = f"extrapolated from {span}" if fit.extrapolated else f"within {span}"
        rows.append((layout.name, f"never ({limit})" if by_flops is None else count(by_flops), found, interval, basis))
    header = ("layout", "by FLOPs", "measured", "interval\n(90 %)", "basis")
    note = "Tokens from which attention costs more than all linear layers; never: with the share that it tends to. \
Measured: linear = a·N + c and attention = alpha·(N - offset) + beta·N², the offset known from the pattern; bootstrap."
    foreign = ", ".join(map(count, foreign_lengths(summary)))
    if foreign:
        note += f" Left out: {foreign} tokens, where the linear layers alone take longer than the whole prefill."
    turns = {layout.name: in_words(crossings(summary.under(layout))) for layout in summary.layouts}
    if any(turns.values()):
        again = "; ".join(f"{layout} {words}" for layout, words in turns.items() if words)
        note += f" By FLOPs more than once: {again}."
    return Table("Crossover", header, tuple(rows), note, words=(0, 4))


def position_table(summary: Summary) -> Table:
    """KL along the text at the longest length: a window costs nothing before its end."""
    found = [row for row in summary.results if row.stretches and not row.layout.is_full]
    longest = max((row.tokens for row in found), default=0)
    found = [row for row in found if row.tokens == longest]
    buckets = found[0].stretches if found else ()
    header = ("layout", *(f"{count(bucket.first)} to {count(bucket.last)}" for bucket in buckets))
    rows = [(row.name, *(f"{bucket.kl_nats:.4f}" for bucket in row.stretches)) for row in found]
    return Table("KL from full attention by position (nats)", header, tuple(rows))


def failure_table(summary: Summary) -> Table:
    """Cells that were tried and gave no figure."""
    rows = [(f"{r.kind} {r.layout}", count(r.tokens), r.status, r.error) for r in summary.failures]
    return Table("Failed cells", ("cell", "tokens", "status", "error"), tuple(rows), words=(0, 2, 3))
