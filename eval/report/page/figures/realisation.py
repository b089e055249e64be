"""Whether a saving is real: speed-up over full attention against the FLOP reduction that should have bought it."""

from __future__ import annotations

from typing import NamedTuple

from attention.full import FULL
from eval.report.layout_result import Gain, LayoutResult
from eval.report.page import labels, marks
from eval.report.page.figure import Context, Figure
from eval.report.page.markup import Markup, element
from eval.report.page.plot import WIDE, Plot, Size, axis
from eval.report.page.series import Series


class Gained(NamedTuple):
    """A layout at one length that has both a speed-up and a reduction of useful FLOPs."""

    series: Series
    result: LayoutResult
    gain: Gain
    at: tuple[float, float]
    """Reduction, speed-up."""


Found = list[Gained]
PARTS = {"attention": "attention part", "whole": "whole prefill"}
LEVELS = (1.0, 0.75, 0.5)


def gains(context: Context, part: str, layouts: tuple[str, ...] = ()) -> Found:
    """Each row that has both a speed-up and a reduction, full attention left out."""
    found = []
    for series, rows in context.shown:
        for row in rows:
            gain = getattr(row, f"{part}_gain")
            wanted = not layouts or series.name in layouts
            if wanted and series.name != FULL and gain.speed_up and gain.useful_reduction:
                found.append(Gained(series, row, gain, (gain.useful_reduction, gain.speed_up)))
    return found


def realisation_figure(context: Context) -> Figure | None:
    """One panel for attention, one for the whole prefill; None where nothing was measured beside full attention."""
    panels = []
    for part, title in PARTS.items():
        found = gains(context, part)
        if found:
            plot = panel_of(title.capitalize(), found, WIDE)
            at_end = {one.series: plot.at(*one.at) for one in found}
            names = marks.beside(plot, [(series, *at) for series, at in at_end.items()])
            panels.append(plot.svg([*levels(plot), *draw(plot, found, title), *names],
                                   f"Speed-up of the {title} against the reduction of its useful FLOPs."))  # fmt: skip
    if not panels:
        return None
    note = (
        "Each point is a layout at one length, beside full attention at the same length; lines join a layout's "
        "lengths. On the 100 % line the machine gives the whole reduction of useful FLOPs back as time. A whole "
        "prefill may pass it: where attention runs at a lower rate than the linear layers, the dearer FLOPs were saved."
    )
    return Figure("realisation", "Realisation", tuple(panels), note, context.again("attention", "prefill"))


def panel_of(title: str, found: Found, size: Size) -> Plot:
    """Axes from 1x, or below where something is slower, to the largest factor."""
    values = [value for one in found for value in one.at] + [1.0]
    x = axis(size, "x", [1.0, *(one.at[0] for one in found)], "fewer useful FLOPs", labels.factor_tick,
             "log", room=0.08)  # fmt: skip
    y = axis(size, "y", values, "speed-up", labels.factor_tick, "log", room=0.08)
    return Plot(title, size, x, y)


def levels(plot: Plot) -> list[Markup]:
    """Lines of equal realisation, named where they leave the frame."""
    drawn, x, y = [], plot.x.scale, plot.y.scale
    for level in LEVELS:
        start, end = max(x.low, y.low / level), min(x.high, y.high / level)
        if start < end:
            x_px, y_px = plot.at(end, level * end)
            right = end == x.high
            drawn.append(marks.line(plot, [(start, level * start), (end, level * end)], "level"))
            drawn.append(
                element(
                    "text",
                    f"{level:.0%}",
                    class_="level-name",
                    x=x_px + 3 * right,
                    y=y_px + (3.5 if right else -4.0),
                    text_anchor="start" if right else "middle",
                )
            )
    return drawn


def draw(plot: Plot, found: Found, what: str) -> list[Markup]:
    """Points, joined in the order of the lengths."""
    drawn = []
    for series in dict.fromkeys(one.series for one in found):
        mine = [one for one in found if one.series is series]
        shapes = [marks.line(plot, [one.at for one in mine], "thin")]
        shapes += [marks.marker(plot, series, *one.at, labels.gain_tip(what, one.result, one.gain)) for one in mine]
        drawn.append(marks.of_series(series, *shapes))
    return drawn
