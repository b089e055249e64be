"""The least time that the FLOPs could take beside the time that they took."""

from __future__ import annotations

from dataclasses import dataclass

from eval.cost.cards import card_of_device
from eval.report.layout_result import LayoutResult, Spread, having
from eval.report.number_format import duration, flops, percent, samples, spread
from eval.report.page.dot_plot import Dot, dot_panel
from eval.report.page.figure import Context, Figure
from eval.report.page.series import Series
from eval.report.summary import Summary

DTYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}


@dataclass(frozen=True)
class Rate:
    """FLOPs per second that a floor divides by, and what that rate is."""

    flops_per_s: float
    words: str


def best_rate(summary: Summary) -> Rate | None:
    """The card's peak; of a device that no peak is known of, the best rate among these records, said to be that."""
    card = card_of_device(next((record.run.environment.device_kind for record in summary.records), ""))
    dtype = DTYPES.get(summary.dtype, summary.dtype)
    if card and dtype in card.peak:
        peak = card.peak[dtype]
        return Rate(peak.value, f"the peak of the {card.title} in {dtype}, {flops(peak.value)}/s ({peak.source})")
    rates = [(1e3 * work / ms.median, f"{part} at {row.tokens:,} tokens") for row in summary.results
             for part, ms, work in _parts(row) if ms and work]  # fmt: skip
    if not rates:
        return None
    rate, where = max(rates)
    found = f"the best rate in these records, {flops(rate)}/s ({where}), for no peak of this device is known"
    return Rate(rate, f"{found}: a floor in relation to the run itself, not to what the device could do")


def floor_figure(context: Context) -> Figure | None:
    """Attention of each layout, and the linear layers, at the longest length, of those that ask for FLOPs; None without
    times."""
    rate = best_rate(context.summary)
    longest = [one for one in context.summary.at_longest().results if one.useful and one.useful.attention]
    timed = having(longest, lambda one: one.attention_ms)
    if rate is None or not timed:
        return None
    tokens = timed[0][0].tokens
    dots = [
        _dot(series, series.label, ms, one.useful.attention, rate)
        for one, ms in timed
        if (series := context.series.get(one.name)) and one.useful and one.useful.attention
    ]
    for one, ms in having((one for one, _ in timed), lambda one: one.linear_ms)[:1]:
        if one.useful and one.useful.linear:
            dots.append(_dot(None, "linear layers", ms, one.useful.linear, rate))
    title = f"Attention of all layers at {tokens:,} tokens"
    panel = dot_panel(title, dots, "time", f"{title}: measured time beside its floor, a row a layout.")
    note = (
        f"The tick is a floor: useful FLOPs over {rate.words}. The dot is the measured median, on its range. What lies "
        "between is work on pairs that nobody sees, memory traffic, softmax, and everything that is no matrix product."
    )
    return Figure(
        "floor", "Floor against measured", (panel,), note, context.again("linear", "attention", "prefill"), shape="one"
    )


def _parts(row: LayoutResult) -> list[tuple[str, Spread | None, int | None]]:
    useful = row.useful
    return [
        (f"attention of {row.name}", row.attention_ms, useful.attention if useful else None),
        ("the linear layers", row.linear_ms, useful.linear if useful else None),
    ]


def _dot(series: Series | None, name: str, ms: Spread, work: int, rate: Rate) -> Dot:
    floor_ms = 1e3 * work / rate.flops_per_s
    tip = (f"measured {spread(ms)}", samples(ms), f"floor {duration(floor_ms)}",
           f"floor / measured {percent(floor_ms / ms.median)}",
           f"{flops(1e3 * work / ms.median)}/s of useful FLOPs")  # fmt: skip
    return Dot(series, name, ms.median, ms.low, ms.high, floor_ms, tip)
