"""The four questions for one layout: cost, attention's share, whether the saving is real, quality by position."""

from __future__ import annotations

from attention.full import FULL
from eval.report.layout_result import LayoutResult, having
from eval.report.number_format import percent
from eval.report.page import labels, marks
from eval.report.page.figure import Context, Figure
from eval.report.page.figures import quality_by_position, realisation
from eval.report.page.markup import Markup, element
from eval.report.page.plot import BARE, ENDED, Plot, axis
from eval.report.page.series import Series


def four_panels(context: Context, layout: str) -> Figure:
    """Of one layout; a panel whose figures were not measured says so."""
    series, rows = context.series[layout], context.summary.of(layout)
    panels = (
        _cost(context, series, rows) or _missing("Cost", "no time was measured"),
        _share(series, rows) or _missing("Attention's share", "the parts were not timed"),
        _realised(context, series)
        or _missing(
            "Realisation", "the reference itself" if layout == FULL else "nothing to compare with full attention"
        ),
        _quality(context, series) or _missing("Quality by position", "no quality was measured"),
    )
    shape = "small"
    return Figure(f"layout-{series.number}", layout, panels, "", context.redraw, shape)


def _cost(context: Context, series: Series, rows: tuple[LayoutResult, ...]) -> Markup | None:
    fields = {"whole_ms": "whole", "attention_ms": "attention", "linear_ms": "linear"}
    found = {f: [(row, getattr(row, f)) for row in rows if getattr(row, f)] for f in fields}
    full = [(row.tokens, row.attention_ms.median) for row in context.summary.of(FULL) if row.attention_ms]
    edges = [edge for pairs in found.values() for _, ms in pairs for edge in (ms.low, ms.high)] + [ms for _, ms in full]
    if not any(found.values()):
        return None
    lengths = sorted({*context.lengths, *(row.tokens for pairs in found.values() for row, _ in pairs)})
    x = axis(ENDED, "x", lengths, "N (tokens)", labels.tokens, "log", lengths, room=0.03)
    plot = Plot("Cost", ENDED, x, axis(ENDED, "y", edges, "time", labels.time_tick, "log"))
    drawn = [marks.line(plot, full, "ghost")] if series.name != FULL else []
    ends = []
    for field, pairs in found.items():
        if not pairs:
            continue
        points = [(row.tokens, ms.median) for row, ms in pairs]
        shapes = [marks.line(plot, points, {"whole_ms": "line", "attention_ms": "thin", "linear_ms": "line"}[field])]
        for row, ms in pairs:
            shapes.append(marks.whisker(plot, row.tokens, ms.low, ms.high))
            shapes.append(marks.marker(plot, series, row.tokens, ms.median, labels.time_tip(fields[field], row, ms)))
        drawn.append(element("g", *shapes, class_="linear" if field == "linear_ms" else series.css))
        ends.append((None if field == "linear_ms" else series, points[-1][1], fields[field]))
    drawn += marks.end_names(plot, ends, marked=False)
    return plot.svg(drawn, f"{series.name}: whole prefill, attention and linear layers against the tokens.")


def _share(series: Series, rows: tuple[LayoutResult, ...]) -> Markup | None:
    shares = having(rows, lambda one: one.share_measured)
    if not shares:
        return None
    found = [row for row, _ in shares]
    lengths = [row.tokens for row in found]
    x = axis(BARE, "x", lengths, "N (tokens)", labels.tokens, "log", lengths, room=0.03)
    y = axis(
        BARE, "y", [1.0], "attention / (attention + linear)", labels.share_tick, at=(0, 0.25, 0.5, 0.75, 1), room=0.0
    )
    plot = Plot("Attention's share", BARE, x, y)
    counted = [(row.tokens, share) for row, share in having(found, lambda one: one.share_predicted)]
    shapes = [marks.line(plot, [(x.scale.low, 0.5), (x.scale.high, 0.5)], "half")]
    if len(counted) > 1:
        shapes.append(marks.line(plot, counted, "line dotted"))
        shapes.append(
            element("text", "by FLOPs", class_="name", x=plot.at(*counted[-1])[0] - 48, y=plot.at(*counted[-1])[1] + 14)
        )
    shapes.append(marks.line(plot, [(row.tokens, share) for row, share in shares]))
    for row, share in shares:
        tip = (f"{labels.tokens(row.tokens)} tokens", f"of the time {percent(share)}",
               f"of the useful FLOPs {percent(row.share_predicted)}")  # fmt: skip
        shapes.append(marks.marker(plot, series, row.tokens, share, tip))
    return plot.svg(
        [element("g", *shapes, class_=series.css)], f"{series.name}: share of attention, of time and of FLOPs."
    )


def _realised(context: Context, series: Series) -> Markup | None:
    parts = {what: realisation.gains(context, part, (series.name,)) for part, what in realisation.PARTS.items()}
    everything = [one for found in parts.values() for one in found]
    if not everything:
        return None
    plot = realisation.panel_of("FLOP reduction and speed-up", everything, BARE)
    drawn = [*realisation.levels(plot)]
    for what, found in parts.items():
        drawn += realisation.draw(plot, found, what)
        if found:
            x, y = plot.at(*found[-1].at)
            drawn.append(element("text", what.split()[0], class_="name", x=x - 7, y=y + 14, text_anchor="end"))
    return plot.svg(drawn, f"{series.name}: speed-up against the reduction of useful FLOPs, attention and whole.")


def _quality(context: Context, series: Series) -> Markup | None:
    found = [(other, row) for other, row in quality_by_position.read_rows(context)]
    mine = [row for other, row in found if other is series]
    if not mine or not any(bucket.kl_nats > 0 for _, row in found for bucket in row.stretches):
        return None
    plot = quality_by_position.panel_of("Quality by position", found, BARE)
    return plot.svg(
        [quality_by_position.draw(plot, series, mine[0])],
        f"{series.name}: divergence from full attention along the text.",
    )


def _missing(title: str, why: str) -> Markup:
    return element("div", element("p", title, class_="title"), element("p", why.capitalize() + "."), class_="missing")
