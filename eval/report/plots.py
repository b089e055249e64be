"""The three pictures of a comparison: cost against length, attention's share, quality against cost.

Figures are built without pyplot, so nothing global changes.  A layout keeps its colour and its marker in all of them;
lines are named at their ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

from attention.regular_file import regular_file
from eval.report.crossover_fit import Crossover
from eval.report.layout_result import LayoutResult
from eval.report.palette import LIGHT, MARKERS, PAGE_LIGHT
from eval.report.picture import Picture
from eval.report.summary import Summary
from eval.report.trades import trades

INK, GREY, PALE = "#222222", "#767676", "#e3e3e3"
REACH = 4
"""Crossovers are drawn up to this factor beyond the measured lengths; those farther out are left to the table."""


def save(figure: Figure, path: Path) -> Path:
    """Writes a PNG."""
    FigureCanvasAgg(figure).print_png(regular_file(path), metadata={"Software": None})
    return path


def cost_figure(
    summary: Summary, measured: Mapping[str, Crossover], analytic: Mapping[str, int | None]
) -> Figure | None:
    """Left: the whole prefill.  Right: its parts, timed apart, with the crossovers, measured and analytic."""
    if not any(row.whole_ms or row.attention_ms for row in summary.results):
        return None
    figure, (whole, parts) = _figure(2, "Prefill time against prompt length", sharey=True)
    lengths = [row.tokens for row in summary.results if row.whole_ms or row.attention_ms]
    reach = min(lengths) / REACH, max(lengths) * REACH
    whole_ends, part_ends = [], []
    for layout in (one.name for one in summary.layouts):
        style = _style(summary, layout)
        whole_ends += _line(whole, summary.of(layout), "whole_ms", layout, style)
        part_ends += _line(parts, summary.of(layout), "attention_ms", layout, style)
        _mark_crossover(parts, measured.get(layout), analytic.get(layout), style["color"], reach)
    linear = {row.tokens: row for row in summary.results if row.linear_ms}
    part_ends += _line(parts, list(linear.values()), "linear_ms", "linear layers", {"color": GREY, "marker": "."})
    for axes, title in ((whole, "whole"), (parts, "attention and linear layers")):
        axes.set(yscale="log", ylabel="median time (ms)")
        axes.set_title(title, loc="left", color=INK, fontsize=10)
        axes.yaxis.set_major_formatter(_thousands)
        _token_axis(axes, lengths)
    for axes, ends in ((whole, whole_ends), (parts, part_ends)):  # only now that the shared scale is settled
        _name_ends(axes, ends)
    _legend_of_marks(parts, measured, analytic, reach)
    return figure


def share_figure(summary: Summary) -> Figure | None:
    """Attention's part of the prefill: of the measured time, and of the useful FLOPs."""
    if not any(row.share_measured is not None for row in summary.results):
        return None
    figure, (axes,) = _figure(1, "Attention's share of prefill")
    ends = []
    for layout in (one.name for one in summary.layouts):
        style = _style(summary, layout)
        ends += _line(axes, summary.of(layout), "share_measured", layout, style)
        _line(axes, summary.of(layout), "share_predicted", layout, {**style, "marker": "", "linestyle": (0, (4, 2))})
    axes.axhline(0.5, color=GREY, linewidth=0.8)
    axes.set(ylim=(0, 1), ylabel="attention / (attention + linear)")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _token_axis(axes, [row.tokens for row in summary.results if row.share_predicted is not None])
    axes.plot([], [], color=GREY, marker="o", markersize=4, label="measured time")
    axes.plot([], [], color=GREY, linestyle=(0, (4, 2)), label="predicted by useful FLOPs")
    axes.legend(frameon=False, fontsize=8, loc="upper left", labelcolor=INK)
    _name_ends(axes, ends)
    return figure


def quality_figure(summary: Summary) -> Figure | None:
    """One point per layout: divergence and perplexity over the time of the longest prompt that all layouts share.

    None where no quality or no time is known.
    """
    found = trades(summary)
    if found is None:
        return None
    read, timed = f"{found.read:,}", f"{found.tokens:,}"
    figure, panels = _figure(2, f"Quality over {read} tokens of text, against the time of {found.what}")
    labels = {"kl_nats": "KL from full attention (nats per token)", "perplexity": "perplexity"}
    for axes, (field, label) in zip(panels, labels.items(), strict=True):
        points = [(ms, getattr(lost, field), name) for name, (ms, lost) in found.by_layout.items()]
        for ms, value, name in points:
            error = [[ms.median - ms.low], [ms.high - ms.median]]
            axes.errorbar(ms.median, value, xerr=error, markersize=7, linewidth=1, **_style(summary, name))
        axes.set(xlabel=f"time of {timed} tokens, median and range (ms)", ylabel=label)
        axes.margins(x=0.1, y=0.15)
        axes.xaxis.set_major_formatter(_thousands)
        _name_ends(axes, [(ms.median, value, name, _style(summary, name)) for ms, value, name in points])
    return figure


# ------------------------------------------------------------------------------------------------------- parts


def _figure(panels: int, title: str, sharey: bool = False) -> tuple[Figure, Sequence[Axes]]:
    figure = Picture(figsize=(1.2 + 4.9 * panels, 4.2), dpi=150, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    grid = figure.subplots(1, panels, squeeze=False, sharey=sharey)[0]
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(True, color=PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8, colors=INK, labelleft=True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set(size=9, color=INK)
    return figure, grid


def _style(summary: Summary, layout: str) -> dict[str, Any]:
    place = [one.name for one in summary.layouts].index(layout)
    look: dict[str, Any] = {"color": LIGHT[place % len(LIGHT)], "marker": MARKERS[place % len(MARKERS)]}
    repeated = place // len(LIGHT) % 2
    return look | ({"linestyle": "--", "markerfacecolor": PAGE_LIGHT} if repeated else {})


Reach = tuple[float, float]
"""Between which lengths a crossover is drawn."""

End = tuple[float, float, str, Mapping[str, Any]]
"""x and y of a line's last point, its name, how it looks."""


def _line(axes: Axes, rows: Iterable[LayoutResult], field: str, name: str, style: Mapping[str, Any]) -> list[End]:
    found = [(row, getattr(row, field)) for row in rows if getattr(row, field) is not None]
    if not found:
        return []
    tokens = [row.tokens for row, _ in found]
    values = [getattr(value, "median", value) for _, value in found]
    axes.plot(tokens, values, linewidth=1.5, markersize=4, **style)
    if hasattr(found[0][1], "low"):
        low, high = ([getattr(value, edge) for _, value in found] for edge in ("low", "high"))
        axes.fill_between(tokens, low, high, color=style["color"], alpha=0.15, linewidth=0)
    return [(tokens[-1], values[-1], name, style)]


def _mark_crossover(axes: Axes, fit: Crossover | None, analytic: int | None, colour: str, reach: Reach) -> None:
    """A cross on a band, its 90 % interval: measured.  A ring: analytic.  Both on the linear layers' fitted line."""
    if fit is None or fit.linear_ms is None:
        return
    if fit.tokens is not None and _within(fit.tokens, reach):
        if fit.tokens > fit.lengths[-1]:
            way = np.geomspace(fit.lengths[-1], fit.tokens)
            axes.plot(way, fit.attention_at(way), linestyle=":", linewidth=1, color=colour)
            axes.plot(way, fit.linear_at(way), linestyle=":", linewidth=1, color=GREY)
        level = fit.linear_at(fit.tokens)
        band: dict[str, Any] = {"linewidth": 7, "alpha": 0.3, "solid_capstyle": "butt"}
        axes.plot(np.clip(fit.interval, *reach), [level, level], color=colour, zorder=4, **band)
        axes.plot(fit.tokens, level, marker="x", markersize=7, markeredgewidth=1.8, color=colour, zorder=5)
    if analytic is not None and _within(analytic, reach):
        ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 1.3}
        axes.plot(analytic, fit.linear_at(analytic), marker="o", markersize=12, zorder=6, **ring)


def _within(tokens: float | None, reach: Reach) -> bool:
    return tokens is not None and reach[0] <= tokens <= reach[1]


def _legend_of_marks(
    axes: Axes, measured: Mapping[str, Crossover], analytic: Mapping[str, int | None], reach: Reach
) -> None:
    if any(_within(fit.tokens, reach) for fit in measured.values()):
        axes.plot([], [], "x", color=GREY, markersize=7, markeredgewidth=1.8, label="crossover, measured (band: 90 %)")
    if any(_within(tokens, reach) for tokens in analytic.values()):
        axes.plot([], [], "o", color=GREY, markerfacecolor="none", markersize=9, label="crossover, by FLOPs")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="upper left", labelcolor=INK)


def _token_axis(axes: Axes, tokens: Iterable[int]) -> None:
    """A logarithmic axis with a tick at each length, and at doublings of the longest beyond it."""
    axes.set(xscale="log", xlabel="prompt length N (tokens)")
    measured = sorted(set(tokens))
    beyond = [measured[-1] << k for k in range(1, 6) if measured[-1] << k <= axes.get_xlim()[1]]
    axes.xaxis.set_major_locator(FixedLocator(measured + beyond))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(_thousands)


def _thousands(value: float, _: float) -> str:
    return f"{value:,.10g}"


def _name_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Names right of the axes, each behind its marker at the height of its point, pushed apart where they touch."""
    heights = _heights(axes, ends)
    for (_, _, name, style), height in zip(ends, spread_out(heights, gap=0.055), strict=True):
        axes.plot([1.02], [height], transform=axes.transAxes, clip_on=False, markersize=4, **style)
        axes.annotate(name, (1.04, height), xycoords="axes fraction", color=INK, fontsize=8, va="center")


def _heights(axes: Axes, points: Iterable[End]) -> list[float]:
    """y of each point as a fraction of the axes."""
    axes.get_ylim()  # settles the limits, which plotting leaves for later
    to_axes = axes.transData + axes.transAxes.inverted()
    return [to_axes.transform((x, y))[1] for x, y, *_ in points]


def spread_out(values: Sequence[float], gap: float) -> list[float]:
    """The values moved as little as can be (least squares) so that neighbours are `gap` apart at least, order kept."""
    order = np.argsort(values, kind="stable")
    blocks: list[tuple[float, int]] = []  # mean and size: less its rank's gaps, a value may not be below the one before
    for rank, place in enumerate(order):
        mean, size = values[place] - gap * rank, 1
        while blocks and blocks[-1][0] > mean:
            before, more = blocks.pop()
            mean, size = (mean * size + before * more) / (size + more), size + more
        blocks.append((mean, size))
    means = [mean for mean, size in blocks for _ in range(size)]
    back = np.empty(len(order))
    back[order] = np.array(means) + gap * np.arange(len(order))
    return back.tolist()
