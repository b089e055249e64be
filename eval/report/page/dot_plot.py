"""Rows of dots with intervals: one row a layout, milliseconds to the right, beside the least that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval.report.page import labels, marks
from eval.report.page.markup import Markup, element
from eval.report.page.plot import Axis, Plot, Size, axis
from eval.report.page.scales import Scale
from eval.report.page.series import Series

ROW = 21
NAMES = 132


@dataclass(frozen=True)
class Dot:
    """A layout's time, how far it may be off, its floor, and what its tip says; `series` is None for no layout."""

    series: Series | None
    name: str
    ms: float
    low: float
    high: float
    floor_ms: float
    tip: Sequence[str]


def dot_panel(title: str, dots: Sequence[Dot], label: str, description: str) -> Markup:
    """A bar from floor to time, an interval and a dot."""
    size = Size(440, 34 + 36 + ROW * len(dots), NAMES, 16)
    y = Axis(Scale(len(dots) - 0.5, -0.5, *size.upward), "", (), str)
    values = [value for dot in dots for value in (dot.low, dot.high, dot.floor_ms)]
    plot = Plot(title, size, axis(size, "x", values, label, labels.time_tick, "log"), y)
    return plot.svg([_row(plot, place, dot) for place, dot in enumerate(dots)], description)


def _row(plot: Plot, place: int, dot: Dot) -> Markup:
    (floor_x, y), (x, _) = plot.at(dot.floor_ms, place), plot.at(dot.ms, place)
    floor = element("line", class_="floor", x1=floor_x, x2=floor_x, y1=y - 6, y2=y + 6)
    gap = element("line", class_="gap", x1=floor_x, x2=x, y1=y, y2=y)
    shape = dot.series.marker(x, y) if dot.series else element("circle", class_="mark", cx=x, cy=y, r=3)
    name = element("text", dot.name, class_="name", x=NAMES - 8, y=y + 3.5, text_anchor="end")
    parts = (
        name,
        gap,
        marks.interval(plot, place, dot.low, dot.high),
        floor,
        marks.point(x, y, (dot.name, *dot.tip), shape),
    )
    return marks.of_series(dot.series, *parts) if dot.series else element("g", *parts, class_="linear")
