"""What stands in a panel: lines, bands, points that say their numbers, and names at the ends of lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from eval.report.page.markup import Markup, element, join, px
from eval.report.page.placing import places
from eval.report.page.plot import Plot
from eval.report.page.series import Series
from eval.report.plots import spread_out

Point = tuple[float, float]

LEAD = 11.0
"""A name that is farther from its point has a line to it, pixels."""


def of_series(series: Series, *children: object, **attributes: object) -> Markup:
    """A group that goes when its layout is switched off."""
    return element("g", *children, class_=series.css, data_v=series.number, **attributes)


def needs(layouts: Iterable[Series], *children: object, **attributes: object) -> Markup:
    """A group that goes as soon as one of its layouts is switched off."""
    return element("g", *children, data_needs=" ".join(str(one.number) for one in layouts), **attributes)


def point(x: float, y: float, tip: Sequence[str], *shapes: object) -> Markup:
    """Shapes (in pixels) that show `tip` when pointed at or focused: its first line, then one for each part."""
    hit = element("circle", class_="hit", cx=x, cy=y, r=9)
    return element("g", hit, *shapes, class_="pt", role="img", aria_label="; ".join(tip))


def marker(plot: Plot, series: Series, x: float, y: float, tip: Sequence[str]) -> Markup:
    """The layout's marker at a place of the data."""
    at = plot.at(x, y)
    return point(*at, (series.name, *tip), series.marker(*at))


def line(plot: Plot, points: Iterable[Point], class_: str = "line") -> Markup:
    """Straight from point to point; nothing where there is only one."""
    places = [plot.at(x, y) for x, y in points]
    return element("path", class_=class_, d=_path(places)) if len(places) > 1 else Markup("")


def line_class(series: Series) -> str:
    return "line dashed" if series.dashed else "line"


def whisker(plot: Plot, x: float, low: float, high: float) -> Markup:
    """From low to high, upwards."""
    (x_px, start), (_, end) = plot.at(x, low), plot.at(x, high)
    return element("line", class_="whisker", x1=x_px, x2=x_px, y1=start, y2=end)


def interval(plot: Plot, y: float, low: float, high: float, class_: str = "whisker") -> Markup:
    """From low to high, across; cut at the frame."""
    (start, y_px), (end, _) = (plot.at(plot.x.scale.clip(x), y) for x in (low, high))
    return element("line", class_=class_, x1=start, x2=end, y1=y_px, y2=y_px)


def curve(plot: Plot, points: Iterable[Point], class_: str) -> Markup:
    """A line through points that may leave the frame: cut where they do."""
    x, y = plot.x.scale, plot.y.scale
    inside = [(a, b) for a, b in points if x.low <= a <= x.high and y.low <= b <= y.high]
    return line(plot, inside, class_)


def end_names(plot: Plot, ends: Sequence[tuple[Series | None, float, str]], marked: bool = True) -> list[Markup]:
    """Names right of the frame at the heights (data) of their lines, pushed apart, with a lead and the marker."""
    if not ends:
        return []
    right = plot.size.across[1]
    heights = [plot.y.scale(value) for _, value, _ in ends]
    placed = _within(spread_out(heights, gap=13.0), plot)
    names = []
    for (series, _, name), height, y in zip(ends, heights, placed, strict=True):
        lead = element("path", class_="lead", d=f"M{px(right + 1)} {px(height)}L{px(right + 9)} {px(y)}")
        text = element("text", name, class_="name", x=right + (21 if marked and series else 12), y=y + 3.5)
        if marked and series:
            text = join([series.marker(right + 14, y, 3.2), text])
        names.append(of_series(series, lead, text) if series else element("g", lead, text, class_="linear"))
    return names


def beside(plot: Plot, points: Sequence[tuple[Series, float, float]]) -> list[Markup]:
    """The name of each point (pixels) near it; those to come first are nearest."""
    boxes = places(plot.size, [(x, y, series.label) for series, x, y in points])
    names = []
    for (series, x, y), box in zip(points, boxes, strict=True):
        to_x, to_y = box.nearest(x, y)
        lead = Markup("")
        if math.hypot(to_x - x, to_y - y) > LEAD:
            lead = element("path", class_="lead", d=_path([(x, y), (to_x, to_y)]))
        middle = (box.left + box.right) / 2
        text = element("text", series.label, class_="name", x=middle, y=box.bottom - 3, text_anchor="middle")
        names.append(of_series(series, lead, text))
    return names


def _within(heights: Sequence[float], plot: Plot) -> list[float]:
    """Moved together so that none is off the panel."""
    low, high = 20.0, plot.size.height - 8.0
    shift = max(low - min(heights), 0.0) - max(max(heights) - high, 0.0)
    return [height + shift for height in heights]


def _path(points: Iterable[Point]) -> str:
    return "M" + "L".join(f"{px(x)} {px(y)}" for x, y in points)
