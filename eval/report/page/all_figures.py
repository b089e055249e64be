"""The figures of the page, in their order; one of your own comes in by `FIGURES.register`."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Final

from attention.registry import Registry
from eval.report.page.figure import Context, Figure
from eval.report.page.figures.cost import cost_figure
from eval.report.page.figures.floor import floor_figure
from eval.report.page.figures.pareto import pareto_figure
from eval.report.page.figures.quality_by_position import position_figure
from eval.report.page.figures.realisation import realisation_figure
from eval.report.page.figures.tile_maps import tile_map_figure

MakeFigure = Callable[[Context], Figure | None]
"""A figure of one summary, None where nothing was measured that it could show; known by the function's name."""

FIGURES: Final[Registry[MakeFigure]] = Registry(
    "figure of the report",
    attrgetter("__name__"),
    (pareto_figure, cost_figure, realisation_figure, floor_figure, tile_map_figure, position_figure),
)
