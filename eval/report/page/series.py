"""How a layout looks everywhere: its number, colour, marker and short name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval.report.page.markup import Markup, element, px
from eval.report.plots import COLOURS, MARKERS

LIGHT = ("#0072b2", "#cf5a00", "#008f68", "#b85c92", "#2b8cc4", "#b07a00", "#222222", "#882255")
DARK = ("#5aaee6", "#f0803c", "#2fc296", "#e39bc4", "#8fd0f5", "#f0b93a", "#e6e6e6", "#d97aa6")
"""The hues of `eval.report.plots.COLOURS`, moved until each stands out 3 : 1 from the page, in either scheme."""

PAGE_LIGHT, PAGE_DARK = "#ffffff", "#14171c"
"""What they stand out from."""

_SIZE = 3.6
_LETTERS = 13
"""Of a first argument, in a short name."""


@dataclass(frozen=True)
class Series:
    """One layout of the report; colours repeat after eight, markers after five, the pair of both after forty."""

    number: int
    name: str
    label: str

    @property
    def css(self) -> str:
        """The class that gives its colour."""
        return f"s{self.number % len(COLOURS)}"

    @property
    def dashed(self) -> bool:
        """Lines whose colour another layout has too."""
        return self.number >= len(COLOURS)

    def marker(self, x: float, y: float, size: float = _SIZE) -> Markup:
        """Its marker, centred there."""
        return element("path", class_="mark", d=_outline(MARKERS[self.number % len(MARKERS)], x, y, size))

    def swatch(self) -> Markup:
        """Its marker on a piece of its line, for a button or a cell."""
        line = element("line", class_="line dashed" if self.dashed else "line", x1=0, y1=6, x2=20, y2=6)
        return element("svg", line, self.marker(10, 6), class_=f"swatch {self.css}", viewBox="0 0 20 12",
                       aria_hidden="true", width=20, height=12)  # fmt: skip


def all_series(names: Iterable[str]) -> dict[str, Series]:
    """By layout, in the order of the report."""
    names = list(dict.fromkeys(names))
    return {name: Series(i, name, label) for i, (name, label) in enumerate(zip(names, short_names(names), strict=True))}


def short_names(layouts: Sequence[str]) -> list[str]:
    """Each layout with no more than the beginning of its variants' first arguments, where that tells it from others."""
    short = [re.sub(r"\(([^()]*)\)", _beginning, layout) for layout in layouts]
    return [one if short.count(one) == 1 else layout for one, layout in zip(short, layouts, strict=True)]


def _beginning(arguments: re.Match[str]) -> str:
    first = arguments[1].partition(",")[0][:_LETTERS]
    return arguments[0] if first == arguments[1] else f"({first}…)"


def _outline(marker: str, x: float, y: float, r: float) -> str:
    """The path of one of `eval.report.plots.MARKERS`."""
    if marker == "o":
        return f"M{px(x - r)} {px(y)}a{px(r)} {px(r)} 0 1 0 {px(2 * r)} 0a{px(r)} {px(r)} 0 1 0 {px(-2 * r)} 0z"
    r *= 1.15
    corners = {
        "s": ((-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)),
        "D": ((0, -1.1), (1.1, 0), (0, 1.1), (-1.1, 0)),
        "^": ((0, -1.1), (1, 0.8), (-1, 0.8)),
        "v": ((0, 1.1), (1, -0.8), (-1, -0.8)),
    }[marker]
    return "M" + "L".join(f"{px(x + r * dx)} {px(y + r * dy)}" for dx, dy in corners) + "z"
