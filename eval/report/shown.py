"""A comparison where somebody looks at it, in a notebook or at a prompt: a line, a table, two figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from eval.report.page.markup import Markup, element, join
from eval.report.run_facts import cautions, crossovers, heading
from eval.report.summary import Summary
from eval.report.table import Table
from eval.report.tables import QUALITY, SPEED_AND_QUALITY, TIME, WHOLE_GAIN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from eval.measure.records.schema import Record
    from refmodel.specification import ModelConfig


class Compared(Protocol):
    """What is shown of an `eval.Comparison`."""

    @property
    def config(self) -> ModelConfig: ...
    @property
    def records(self) -> Sequence[Record]: ...
    @property
    def summaries(self) -> tuple[Summary, ...]: ...
    @property
    def failures(self) -> tuple[Record, ...]: ...


_CELL = {True: "text-align: left", False: "text-align: right"}


def in_a_line(compared: Compared) -> str:
    """Which model, how much was measured and how much of it failed."""
    layouts = {record.layout for record in compared.records if record.kind != "attention"}
    lengths = sorted({record.tokens for record in compared.records})
    ends = dict.fromkeys(f"{n:,}" for n in lengths[:1] + lengths[-1:])
    span = f"{' to '.join(ends)} tokens, " if ends else ""
    most = max((record.run.batch for record in compared.records), default=1)
    prompts = f", {most} prompts at once" if most > 1 else ""
    counts = f"{len(compared.records)} records, {len(compared.failures)} failed"
    return (
        f"Comparison of {compared.config.name}{prompts}: {len(layouts)} layouts, {span}{counts}; "
        "rows(), to_pandas(), plot_pareto(), plot_wall()"
    )


def as_html(compared: Compared) -> Markup:
    """What a prompt takes and loses, times, gains and quality, as the terminal has them; cautions first."""
    parts: list[Markup] = []
    for summary in compared.summaries:
        longest = summary.at_longest()
        parts.append(element("p", element("b", heading(summary))))
        parts += [element("p", caution) for caution in cautions(summary)]
        of_time = (table.of(longest) for table in (SPEED_AND_QUALITY, TIME, WHOLE_GAIN))
        tables = (*of_time, QUALITY.of(summary))
        parts += [table_as_html(table.without_constant("tokens")) for table in tables if table]
    return join(parts) if parts else element("p", in_a_line(compared))


def table_as_html(table: Table) -> Markup:
    """As a notebook shows it."""

    def line(tag: str, cells: tuple[str, ...]) -> Markup:
        styled = (element(tag, cell, style=_CELL[place in table.words]) for place, cell in enumerate(cells))
        return element("tr", *styled)

    caption = element("caption", table.title, style="text-align: left")
    body = element("tbody", *(line("td", row) for row in table.rows))
    return element("table", caption, element("thead", line("th", table.header)), body)


def pareto(compared: Compared, place: int) -> Figure:
    """`eval.report.plots.quality_figure` of one of the summaries."""
    from eval.report.plots import quality_figure

    return _drawn(quality_figure(_one_of(compared, place)), "a time and a quality of one layout")


def wall(compared: Compared, place: int) -> Figure:
    """`eval.report.plots.cost_figure` of one of the summaries."""
    from eval.report.plots import cost_figure

    summary = _one_of(compared, place)
    return _drawn(cost_figure(summary, *crossovers(summary)), "a time")


def _one_of(compared: Compared, place: int) -> Summary:
    found = compared.summaries
    if not 0 <= place < len(found):
        raise ValueError(f"there is nothing to draw in place {place}: this comparison has {len(found)} summaries")
    return found[place]


def _drawn(figure: Figure | None, wanted: str) -> Figure:
    if figure is None:
        raise ValueError(f"there is nothing to draw: {wanted} is wanted, and none was measured")
    return figure
