"""The README's two pictures, from kept records: where the wall stands, and what was saved against what it cost."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from attention.full import FULL
from eval.report.crossover_fit import Crossover
from eval.report.number_format import fitted
from eval.report.palette import LIGHT
from eval.report.plots import GREY, INK, PALE, spread_out
from eval.report.run_facts import crossovers
from eval.report.summary import Summary

LINES: Final = {FULL: "full attention", "5*swa(1024)+full": "5*swa(1024)+full", "swa(1024)": "swa(1024)"}
MADE_OF: Final = "Records"
"""The entry of a picture's text that holds the digest of the records that it is drawn from."""


def save(figure: Figure, path: Path, records: Path) -> None:
    """Writes a PNG that names the records it was drawn from, so that a test can tell an old one."""
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None, MADE_OF: digest(records)})


def digest(records: Path) -> str:
    """SHA-256 of a file of records."""
    return hashlib.sha256(records.read_bytes()).hexdigest()


def wall_figure(summary: Summary) -> Figure:
    """Time of the linear layers, which grows as N, and of attention under three layouts; a cross where they meet."""
    figure, axes = _canvas()
    fits, _ = crossovers(summary)
    ends = []
    for (layout, name), colour in zip(LINES.items(), LIGHT, strict=False):
        points = [(row.tokens, row.attention_ms.median / 1e3) for row in summary.of(layout) if row.attention_ms]
        ends.append(_line(axes, points, name, colour))
        _mark_crossover(axes, fits[layout])
    linear = {row.tokens: row.linear_ms.median / 1e3 for row in summary.results if row.linear_ms}
    ends.append(_line(axes, sorted(linear.items()), "linear layers", GREY, linewidth=2.5))
    axes.set(xscale="log", yscale="log", xlabel="prompt length N (tokens)", ylabel="seconds of one prefill")
    axes.xaxis.set_major_locator(FixedLocator(_apart({row.tokens for row in summary.results if row.attention_ms})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
    _name(axes, ends)
    card = summary.records[0].run.environment.device_kind
    _title(axes, f"{summary.config.name} on an {card}: attention meets the linear layers at the crosses")
    return figure


def worth_figure(summary: Summary) -> Figure:
    """Each layout's attention speed-up (dot), its FLOP reduction (ring), and the perplexity that it costs."""
    figure, axes = _canvas()
    read = {row.name: row.quality for row in summary.results if row.quality}
    ends = []
    for row, colour in zip(summary.at_longest().results, itertools.cycle(LIGHT)):
        gain, quality = row.attention_gain, read.get(row.name)
        if row.layout.is_full or not (quality and gain.speed_up and gain.useful_reduction):
            continue
        loss = 100 * (quality.perplexity / read[FULL].perplexity - 1)
        axes.plot([gain.speed_up, gain.useful_reduction], [loss, loss], color=colour, linewidth=1, alpha=0.6)
        axes.plot(gain.speed_up, loss, "o", color=colour, markersize=6)
        axes.plot(gain.useful_reduction, loss, "o", color=colour, markersize=7, markerfacecolor="white")
        ends.append((gain.useful_reduction, loss, row.name, colour))
    axes.plot([], [], "o", color=GREY, label="attention is so many times faster")
    axes.plot([], [], "o", color=GREY, markerfacecolor="white", label="its useful FLOPs are so many times fewer")
    axes.legend(frameon=False, fontsize=8, loc="center right", labelcolor=INK)
    axes.set(yscale="log", xlabel="factor over full attention", ylabel="perplexity over full attention's (%)")
    axes.yaxis.set_major_locator(FixedLocator((1, 2, 5, 10, 20, 50, 100)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"+{loss:g}"))
    _name(axes, ends)
    tokens = summary.at_longest().results[0].tokens
    text = next(row.tokens for row in summary.results if row.quality)
    _title(axes, f"{summary.config.name} on a CPU: attention over {tokens:,} tokens, perplexity over {text:,}")
    return figure


End = tuple[float, float, str, str]
"""x and y of a line's last point, its name, its colour."""


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8.6, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=INK)
    return figure, axes


def _line(axes: Axes, points: Sequence[tuple[int, float]], name: str, colour: str, linewidth: float = 1.6) -> End:
    tokens, seconds = zip(*points, strict=True)
    axes.plot(tokens, seconds, "o-", color=colour, linewidth=linewidth, markersize=4)
    return tokens[-1], seconds[-1], name, colour


def _title(axes: Axes, words: str) -> None:
    axes.set_title(words, loc="left", fontsize=10, color=INK)


def _mark_crossover(axes: Axes, fit: Crossover) -> None:
    if fit.tokens is None or fit.linear_ms is None:
        return
    at = fit.tokens, float(fit.linear_at(fit.tokens)) / 1e3
    axes.plot(*at, "x", color=INK, markersize=9, markeredgewidth=2, zorder=5)
    axes.annotate(fitted(fit.tokens), at, xytext=(9, -4), textcoords="offset points", va="top", color=INK, fontsize=9)


def _name(axes: Axes, ends: Iterable[End]) -> None:
    """Names to the right of the axes, each at its point's height."""
    ends = list(ends)
    axes.get_ylim()  # settles the limits, which plotting leaves for later
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = spread_out([to_axes.transform((x, y))[1] for x, y, *_ in ends], gap=0.065)
    for (_, _, name, colour), height in zip(ends, heights, strict=True):
        axes.annotate(name, (1.01, height), xycoords="axes fraction", color=colour, fontsize=8, va="center")


def _apart(lengths: Iterable[int]) -> list[int]:
    """Those that have room for a label: each at least twice the one before."""
    shown: list[int] = []
    for length in sorted(lengths):
        shown += [length] if not shown or length >= 2 * shown[-1] else []
    return shown
