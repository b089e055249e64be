"""Quality along the text: a window costs nothing before its end."""

from __future__ import annotations

from eval.report.layout_result import LayoutResult
from eval.report.number_format import number
from eval.report.page import labels, marks
from eval.report.page.figure import Context, Figure
from eval.report.page.markup import Markup
from eval.report.page.plot import Plot, Size, axis, named
from eval.report.page.series import Series


def read_rows(context: Context) -> list[tuple[Series, LayoutResult]]:
    """Each layout's row with the longest text, where its quality was kept by position."""
    found = []
    for series, rows in context.shown:
        with_buckets = [row for row in rows if row.stretches]
        if with_buckets:
            found.append((series, with_buckets[-1]))
    return found


def position_figure(context: Context) -> Figure | None:
    """KL from full attention by position, a line a layout."""
    found = read_rows(context)
    if not any(bucket.kl_nats > 0 for _, row in found for bucket in row.stretches):
        return None
    size = named([series.label for series, _ in found])
    plot = panel_of("KL from full attention, by position", found, size)
    ends = [(series, max(row.stretches[-1].kl_nats, 0.0), series.label) for series, row in found]
    drawn = [draw(plot, series, row) for series, row in found]
    svg = plot.svg(
        [*drawn, *marks.end_names(plot, ends)], "Divergence from full attention along the text, a line a layout."
    )
    note = (
        "Mean over the tokens of each stretch of the text, at the longest text that was read. The scale of KL is a "
        "square root. The perplexity of a stretch is in its tip: stretches differ in how hard they are."
    )
    return Figure("position", "Quality by position", (svg,), note, context.again("quality"), shape="one")


def panel_of(title: str, found: list[tuple[Series, LayoutResult]], size: Size) -> Plot:
    """Positions to the right, KL upwards."""
    buckets = [bucket for _, row in found for bucket in row.stretches]
    x = axis(size, "x", [bucket.last for bucket in buckets], "position in the text (tokens)", labels.tokens, room=0.0)
    y = axis(size, "y", [bucket.kl_nats for bucket in buckets], "KL (nats per token)", labels.plain, "sqrt")
    return Plot(title, size, x, y)


def draw(plot: Plot, series: Series, row: LayoutResult) -> Markup:
    """A step for each stretch, with a marker in its middle."""
    steps: list[tuple[float, float]] = []
    shapes = []
    for bucket in row.stretches:
        kl = max(bucket.kl_nats, 0.0)  # of rounding
        steps += [(bucket.first, kl), (bucket.last, kl)]
        tip = (f"positions {labels.tokens(bucket.first)} to {labels.tokens(bucket.last)}",
               f"KL {number(kl)} nats", f"perplexity {bucket.perplexity:.3f}")  # fmt: skip
        shapes.append(marks.marker(plot, series, (bucket.first + bucket.last) / 2, kl, tip))
    return marks.of_series(series, marks.line(plot, steps, marks.line_class(series)), *shapes)
