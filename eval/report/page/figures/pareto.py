"""Quality against time: one point a layout, and the frontier that no other layout beats on both."""

from __future__ import annotations

from dataclasses import dataclass

from eval.quality.text_quality import TextQuality
from eval.report.layout_result import Spread
from eval.report.number_format import number, percent, samples, spread
from eval.report.page import labels, marks
from eval.report.page.figure import Context, Figure
from eval.report.page.markup import Markup
from eval.report.page.plot import WIDE, Plot, axis
from eval.report.page.scales import Kind
from eval.report.page.series import Series
from eval.report.trades import Trades, frontier, trades


@dataclass(frozen=True)
class Loss:
    """What stands upwards in a panel: a field of `Quality`."""

    field: str
    title: str
    label: str
    kind: Kind


KL = Loss("kl_nats", "Divergence", "KL from full attention, nats per token", "sqrt")
LOSSES = (KL, Loss("perplexity", "Perplexity", "of the text, logarithmic", "log"))


def pareto_figure(context: Context) -> Figure | None:
    """KL and perplexity against time; None where no quality or no time was measured."""
    found = trades(context.summary)
    if found is None:
        return None
    panels = tuple(loss_panel(context, found, loss, loss.title) for loss in LOSSES)
    note = f"{found.told} The scale of KL is a square root, so that small losses can be told apart."
    again = context.again("linear", "attention", "prefill", "quality")
    return Figure("pareto", "Quality against time", panels, note, again)


def loss_panel(context: Context, trades: Trades, loss: Loss, title: str) -> Markup:
    """One of the losses upwards, time to the right, a point a layout."""
    found, tokens = trades.by_layout, f"{trades.tokens:,}"
    points = {name: (ms.median, getattr(lost, loss.field)) for name, (ms, lost) in found.items()}
    edges = [edge for ms, _ in found.values() for edge in (ms.low, ms.high)]
    x = axis(WIDE, "x", edges, f"time of {tokens} tokens", labels.time_tick, "log", room=0.12)
    y = axis(WIDE, "y", [lost for _, lost in points.values()], loss.label, labels.plain, loss.kind, room=0.12)
    plot = Plot(title, WIDE, x, y)
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
        samples(ms),
        f"perplexity {quality.perplexity:.3f}",
        f"KL {number(quality.kl_nats)} nats",
        f"same top token {percent(quality.top1_agreement)}",
    )


def _frontier_first(places: list[tuple[Series, float, float]], best: list[str]) -> list[tuple[Series, float, float]]:
    """In the order in which names are placed."""
    return sorted(places, key=lambda place: place[0].name not in best)
