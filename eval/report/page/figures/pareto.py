"""Quality against time: one point a layout, and the frontier that no other layout beats on both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eval.quality.text_quality import TextQuality
from eval.report.layout_result import LayoutResult, Spread
from eval.report.number_format import number, percent, spread
from eval.report.page import labels, marks
from eval.report.page.figure import Context, Figure
from eval.report.page.markup import Markup
from eval.report.page.plot import WIDE, Plot, axis
from eval.report.page.scales import Kind
from eval.report.page.series import Series
from eval.report.summary import Summary


@dataclass(frozen=True)
class Loss:
    """What stands upwards in a panel: a field of `Quality`."""

    field: str
    title: str
    label: str
    kind: Kind


LOSSES = (
    Loss("kl_nats", "Divergence", "KL from full attention, nats per token", "sqrt"),
    Loss("perplexity", "Perplexity", "of the text, logarithmic", "log"),
)

Found = dict[str, tuple[Spread, TextQuality]]
"""By layout: its time, and what it loses."""

Measure = Callable[[LayoutResult], Spread | None]


def whole_ms(row: LayoutResult) -> Spread | None:
    """The whole prefill, as timed."""
    return row.whole_ms


def parts_ms(row: LayoutResult) -> Spread | None:
    """Attention and linear layers, timed apart, added."""
    if row.attention_ms is None or row.linear_ms is None:
        return None
    pairs = zip(_figures(row.attention_ms), _figures(row.linear_ms), strict=True)
    return Spread(*(attention + linear for attention, linear in pairs))


def longest_common(
    summary: Summary, layouts: list[str], measure: Callable[[LayoutResult], object]
) -> dict[str, LayoutResult]:
    """Rows at the longest length at which every one of the layouts that has the measure at all has it."""
    found = {name: {row.tokens: row for row in summary.of(name) if measure(row) is not None} for name in layouts}
    found = {name: rows for name, rows in found.items() if rows}
    shared = set.intersection(*(set(rows) for rows in found.values())) if found else set()
    return {name: rows[max(shared)] for name, rows in found.items()} if shared else {}


def frontier(points: dict[str, tuple[float, float]]) -> list[str]:
    """The names whose (time, loss) no other point matches or beats in both; fastest first."""
    kept: list[str] = []
    for name in sorted(points, key=points.__getitem__):
        if not kept or points[name][1] < points[kept[-1]][1]:
            kept.append(name)
    return kept


def pareto_figure(context: Context) -> Figure | None:
    """KL and perplexity against time; None where no quality or no time was measured."""
    summary = context.summary
    quality = longest_common(summary, [layout.name for layout in summary.layouts], lambda row: row.quality)
    measures = {"the whole prefill": whole_ms, "attention and linear layers, timed apart": parts_ms}
    costs = {what: longest_common(summary, list(quality), measure) for what, measure in measures.items()}
    what = max(costs, key=lambda one: len(costs[one]))
    cost, measure = costs[what], measures[what]
    if not cost:
        return None
    tokens, read = (next(iter(rows.values())).tokens for rows in (cost, quality))
    found = {name: (ms, lost) for name in cost if (ms := measure(cost[name])) and (lost := quality[name].quality)}
    panels = tuple(_panel(context, found, loss, f"{tokens:,}") for loss in LOSSES)
    note = (
        f"Loss over {read:,} tokens of text against the time of {what} at {tokens:,} tokens (median and range). Down "
        "and left is better; the line joins the layouts that no other one beats on both. The scale of KL is a square "
        "root, so that small losses can be told apart."
    )
    return Figure("pareto", "Quality against time", panels, note, context.redraw)


def _panel(context: Context, found: Found, loss: Loss, tokens: str) -> Markup:
    points = {name: (ms.median, getattr(lost, loss.field)) for name, (ms, lost) in found.items()}
    edges = [edge for ms, _ in found.values() for edge in (ms.low, ms.high)]
    x = axis(WIDE, "x", edges, f"time of {tokens} tokens", labels.time_tick, "log", room=0.12)
    y = axis(WIDE, "y", [lost for _, lost in points.values()], loss.label, labels.plain, loss.kind, room=0.12)
    plot = Plot(loss.title, WIDE, x, y)
    best = frontier(points)
    drawn = [marks.needs([context.series[n] for n in best], marks.line(plot, [points[n] for n in best], "frontier"))]
    for name, (ms, lost) in found.items():
        shapes = (
            marks.interval(plot, points[name][1], ms.low, ms.high),
            marks.marker(plot, context.series[name], *points[name], _tip(ms, lost, tokens)),
        )
        drawn.append(marks.of_series(context.series[name], *shapes))
    places = [(context.series[name], *plot.at(*points[name])) for name in found]
    said = f"{loss.title} of each layout against its time; the frontier joins {', '.join(best)}."
    return plot.svg([*drawn, *marks.beside(plot, _frontier_first(places, best))], said)


def _tip(ms: Spread, quality: TextQuality, tokens: str) -> tuple[str, ...]:
    return (
        f"{spread(ms)} at {tokens} tokens",
        f"perplexity {quality.perplexity:.3f}",
        f"KL {number(quality.kl_nats)} nats",
        f"same top token {percent(quality.top1_agreement)}",
    )


def _frontier_first(places: list[tuple[Series, float, float]], best: list[str]) -> list[tuple[Series, float, float]]:
    """In the order in which names are placed."""
    return sorted(places, key=lambda place: place[0].name not in best)


def _figures(ms: Spread) -> tuple[float, float, float]:
    return ms.median, ms.low, ms.high
