"""How a layout looks everywhere: its number, colour, marker and short name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from eval.report.page.markup import Markup, element, px
from eval.report.palette import LIGHT, MARKERS

_SIZE = 3.6
_LETTERS = 13
"""Of a first argument, in a short name."""
_LONGEST = 30
"""Letters of a name in a figure, about."""


@dataclass(frozen=True)
class Series:
    """One layout of the report; where its colour repeats, its lines are dashed and its markers hollow."""

    number: int
    name: str
    label: str

    @property
    def css(self) -> str:
        """The class that gives its colour."""
        return f"s{self.number % len(LIGHT)}"

    @property
    def dashed(self) -> bool:
        """A layout whose colour another one has too: every second turn through the colours."""
        return self.number // len(LIGHT) % 2 == 1

    def marker(self, x: float, y: float, size: float = _SIZE) -> Markup:
        """Its marker, centred there."""
        class_ = "mark hollow" if self.dashed else "mark"
        return element("path", class_=class_, d=_outline(MARKERS[self.number % len(MARKERS)], x, y, size))

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
    """Each layout with the beginning of its variants' first arguments, or as many arguments as tell it from others.

    A name that is long all the same loses its middle, and has its number where that leaves it like another.
    """
    found = list(layouts)
    for kept in range(max((layout.count(",") for layout in layouts), default=0) + 1, 0, -1):
        short = [re.sub(r"\(([^()]*)\)", partial(_beginning, kept), layout) for layout in layouts]
        found = [one if short.count(one) == 1 else name for one, name in zip(short, found, strict=True)]
    cut = [name if len(name) <= _LONGEST else _without_middle(name) for name in found]
    return [name if cut.count(name) == 1 else f"{name} #{i + 1}" for i, name in enumerate(cut)]


def _without_middle(name: str) -> str:
    half = _LONGEST // 2
    return f"{name[:half].rstrip('…')}…{name[-half:].lstrip('…')}"


def _beginning(kept: int, arguments: re.Match[str]) -> str:
    first = ",".join(arguments[1].split(",")[:kept])
    first = first[:_LETTERS] if kept == 1 else first
    return arguments[0] if first == arguments[1] else f"({first}…)"


def _outline(marker: str, x: float, y: float, r: float) -> str:
    """The path of one of `eval.report.palette.MARKERS`."""
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
