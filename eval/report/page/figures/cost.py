"""Cost against the length of the prompt: measured points, fitted lines, and where attention overtakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from eval.report.crossover_fit import Crossover
from eval.report.layout_result import LayoutResult, Spread, having
from eval.report.number_format import fitted
from eval.report.page import labels, marks
from eval.report.page.figure import Context, Figure
from eval.report.page.markup import Markup, element
from eval.report.page.plot import LINE, Plot, axis, named
from eval.report.page.series import Series
from eval.report.plots import REACH

LINEAR = "linear layers"


def cost_figure(context: Context) -> Figure | None:
    """Left: whole prefills.  Right: the parts, with both crossovers; None where neither was measured."""
    if not context.lengths:
        return None
    panels = [panel for panel in (_whole(context), wall_panel(context, "Attention and linear layers")) if panel]
    if not panels:
        return None
    note = (
        "Median of the samples, with the fastest and the slowest; both axes are logarithmic. On the right attention "
        "and the linear layers, timed apart: points are measured, lines are the fits linear = a·N + c and attention = "
        "alpha·(N - offset) + beta·N². Where there is no fit (too few lengths, or times of another form) the points "
        "are joined."
    )
    related = (f"prefillwall crossover --model {context.model}",)
    title = "Cost against prompt length"
    again = context.again("linear", "attention", "prefill")
    return Figure("cost", title, tuple(panels), note, again, related=related)


def _whole(context: Context) -> Markup | None:
    times = [row.whole_ms for row in context.summary.results if row.whole_ms]
    if not times:
        return None
    plot = _plot("Whole prefill", context, context.lengths, times)
    drawn, ends = [], []
    for series, rows in context.shown:
        found = having(rows, lambda one: one.whole_ms)
        if found:
            drawn.append(_measured(plot, series, found, "whole prefill", joined=True))
            ends.append((series, found[-1][1].median, series.label))
    return plot.svg(
        [*drawn, *marks.end_names(plot, ends)], "Time of a whole prefill against its tokens, a line a layout."
    )


def wall_panel(context: Context, title: str) -> Markup | None:
    """The parts, timed apart, and where they meet; None where neither was measured."""
    linear = {one.tokens: (one, ms) for one, ms in having(context.summary.results, lambda one: one.linear_ms)}
    times = [ms for _, ms in having(context.summary.results, lambda one: one.attention_ms)]
    times += [ms for _, ms in linear.values()]
    if not times:
        return None
    crossings = [cross for layout in context.summary.layouts for cross in _crossings(context, layout.name)]
    times += [Spread(ms, ms, ms, 0) for _, ms in crossings]
    plot = _plot(title, context, [*context.lengths, *(n for n, _ in crossings)], times)
    drawn = [_linear(plot, context, list(linear.values()))]
    ends: list[tuple[Series | None, float, str]] = []
    if linear:
        ends.append((None, linear[max(linear)][1].median, LINEAR))
    for series, rows in context.shown:
        found = having(rows, lambda one: one.attention_ms)
        if not found:
            continue
        fit = context.measured[series.name]
        if fit.linear_ms is not None:
            drawn.append(marks.of_series(series, _fitted(plot, fit, marks.line_class(series))))
        drawn.append(_measured(plot, series, found, "attention", joined=fit.linear_ms is None))
        ends.append((series, found[-1][1].median, series.label))
    crossing = [series for series, _ in context.shown if list(_crossings(context, series.name))]
    drawn += [_marks_of_crossover(plot, context, series) for series in crossing]
    drawn += _key(plot) if crossing else []
    said = "Time of attention, a line a layout, and of the linear layers, against the tokens of the prompt."
    return plot.svg([*drawn, *marks.end_names(plot, ends)], said)


def _plot(title: str, context: Context, lengths: Sequence[float], times: list[Spread]) -> Plot:
    size, ticks = named([LINEAR, *(series.label for series, _ in context.shown)]), context.lengths
    beyond = [ticks[-1] << k for k in range(1, 6) if ticks[-1] << k <= max(lengths)]
    x = axis(size, "x", lengths, "prompt length N (tokens)", labels.tokens, "log", [*ticks, *beyond], room=0.04)
    y = axis(size, "y", [ms for time in times for ms in (time.low, time.high)], "time", labels.time_tick, "log")
    return Plot(title, size, x, y)


def _measured(plot: Plot, series: Series, found: list[tuple[LayoutResult, Spread]], what: str, joined: bool) -> Markup:
    points = [(row.tokens, ms.median) for row, ms in found]
    drawn = [marks.line(plot, points, marks.line_class(series))] if joined else []
    for row, ms in found:
        drawn.append(marks.whisker(plot, row.tokens, ms.low, ms.high))
        drawn.append(marks.marker(plot, series, row.tokens, ms.median, labels.time_tip(what, row, ms)))
    return marks.of_series(series, *drawn)


def _linear(plot: Plot, context: Context, rows: Sequence[tuple[LayoutResult, Spread]]) -> Markup:
    fits = [fit for fit in context.measured.values() if fit.linear_ms is not None]
    x = plot.x.scale
    ends = [(n, fits[0].linear_at(n)) for n in np.geomspace(x.low, x.high, 60)] if fits else []
    drawn = [
        marks.curve(plot, ends, "line") if ends else marks.line(plot, [(one.tokens, ms.median) for one, ms in rows])
    ]
    for row, ms in rows:
        at = plot.at(row.tokens, ms.median)
        drawn.append(marks.whisker(plot, row.tokens, ms.low, ms.high))
        tip = (LINEAR, *labels.time_tip(LINEAR, row, ms))
        drawn.append(marks.point(*at, tip, element("circle", class_="mark", cx=at[0], cy=at[1], r=2.6)))
    return element("g", *drawn, class_="linear")


def _fitted(plot: Plot, fit: Crossover, class_: str) -> Markup:
    """Solid where lengths were measured, dotted on to the crossover."""
    points = [(n, fit.attention_at(n)) for n in np.geomspace(fit.lengths[0], fit.lengths[-1], 24)]
    drawn = [marks.curve(plot, points, class_)]
    if fit.tokens is not None and fit.tokens > fit.lengths[-1]:
        ahead = [(n, fit.attention_at(n)) for n in np.geomspace(fit.lengths[-1], fit.tokens, 12)]
        drawn.append(marks.curve(plot, ahead, "line dotted"))
    return element("g", *drawn)


def _crossings(context: Context, layout: str) -> Iterator[tuple[float, float]]:
    """(tokens, ms) of the crossovers that are near enough to be drawn: on the linear layers' fitted line."""
    fit, reach = context.measured[layout], context.lengths[-1] * REACH
    if fit.linear_ms is not None:
        for tokens in (fit.tokens, context.analytic[layout]):
            if tokens is not None and context.lengths[0] / REACH <= tokens <= reach:
                yield tokens, fit.linear_at(tokens)


def _marks_of_crossover(plot: Plot, context: Context, series: Series) -> Markup:
    """A cross on its 90 % interval: measured.  A ring: by FLOPs."""
    fit, analytic = context.measured[series.name], context.analytic[series.name]
    near, drawn = [tokens for tokens, _ in _crossings(context, series.name)], []
    if fit.tokens is not None and fit.tokens in near:
        level = fit.linear_at(fit.tokens)
        x, y = plot.at(fit.tokens, level)
        cross = element("path", class_="cross", d=f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8")
        tip = (series.name, f"measured crossover: {fitted(fit.tokens)} tokens",
               f"90 % interval {' to '.join(map(fitted, fit.interval))}")  # fmt: skip
        drawn += [marks.interval(plot, level, *fit.interval, "band"), marks.point(x, y, tip, cross)]
    if analytic is not None and analytic in near:
        x, y = plot.at(analytic, fit.linear_at(analytic))
        counted = (series.name, f"crossover by FLOPs: {labels.tokens(analytic)} tokens")
        drawn.append(marks.point(x, y, counted, element("circle", class_="ring", cx=x, cy=y, r=6)))
    return marks.of_series(series, *drawn)


def _key(plot: Plot) -> list[Markup]:
    """What cross and ring are, in the corner that rising lines leave free."""
    x, y = plot.size.left + 10.0, plot.size.top + 8.0
    cross = element("path", class_="cross", d=f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8")
    ring = element("circle", class_="ring", cx=x, cy=y + LINE + 2, r=5)
    told = ("crossover, measured (90 %)", "crossover by FLOPs")
    lines = ((words, y + 3.5 + i * (LINE + 2)) for i, words in enumerate(told))
    names = [element("text", words, class_="name", x=x + 11, y=base) for words, base in lines]
    return [element("g", cross, ring, *names, class_="linear")]
