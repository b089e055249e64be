"""What an SVG panel shows, read back: data from pixels by the panel's own ticks, tips, names and lines."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from tests.eval.report.plain import UNITS

BEND: dict[str, tuple[Callable, Callable]] = {
    "log": (math.log, math.exp),
    "linear": (float, float),
    "sqrt": (math.sqrt, lambda value: value**2),
}
Place = tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """One panel; `kinds` are the scales of x and y, `across` its rows where y counts rows."""

    svg: str
    kinds: tuple[str, str]

    @cached_property
    def root(self) -> ET.Element:
        return ET.fromstring(self.svg)

    def of(self, class_: str) -> list[ET.Element]:
        return [one for one in self.root.iter() if one.get("class", "") == class_]

    @property
    def title(self) -> str:
        return self.root.get("aria-label")

    @property
    def labels(self) -> tuple[str, str]:
        """What the axes measure, x and y."""
        y, x = (one.text or "" for one in self.of("axis"))
        return x, y

    def _value(self, axis: int, at: float) -> float:
        """Data from a pixel, through the two ticks that are farthest apart."""
        anchor, key, shift = (("middle", "x", 0.0), ("end", "y", 3.5))[axis]
        ticks = [one for one in self.of("tick") if one.get("text-anchor") == anchor]
        (a, p), *_, (b, q) = [(tick_value(one.text), float(one.get(key)) - shift) for one in ticks]
        bend, back = BEND[self.kinds[axis]]
        return back(bend(a) + (at - p) / (q - p) * (bend(b) - bend(a)))

    def at(self, x: float, y: float) -> Place:
        return self._value(0, x), self._value(1, y)

    def x(self, pixel: float) -> float:
        return self._value(0, pixel)

    @property
    def points(self) -> dict[tuple[str, ...], Place]:
        """Data of each point by its tip."""
        found = {}
        for group in self.of("pt"):
            hit = next(one for one in group if one.get("class") == "hit")
            tip = tuple(group.get("aria-label").split("; "))
            assert tip not in found
            found[tip] = self.at(float(hit.get("cx")), float(hit.get("cy")))
        return found

    @property
    def tips(self) -> list[tuple[str, ...]]:
        return [tuple(group.get("aria-label").split("; ")) for group in self.of("pt")]

    def lines(self, class_: str) -> list[list[Place]]:
        """Data of each path of a class."""
        paths = [re.findall(r"[ML]([\d.-]+) ([\d.-]+)", one.get("d")) for one in self.of(class_) if one.get("d")]
        return [[self.at(float(x), float(y)) for x, y in places] for places in paths]

    def upright(self, class_: str = "whisker") -> list[tuple[float, float, float]]:
        """(x, low, high) of lines that stand upright."""
        found = []
        for one in self.of(class_):
            x, y = self.at(float(one.get("x1")), float(one.get("y1")))
            found.append((x, y, self.at(0, float(one.get("y2")))[1]))
        return found

    def lying(self, class_: str = "whisker") -> list[tuple[float, float]]:
        """(low, high) of lines that lie."""
        return [(self.x(float(one.get("x1"))), self.x(float(one.get("x2")))) for one in self.of(class_)]


def tick_value(words: str) -> float:
    """`300 ms`, `3 s`, `1,024`, `2x`, `25 %`."""
    number, unit = re.fullmatch(r"([\d.,e+-]+?) ?(ms|s|x|%)?", words).groups()
    return float(number.replace(",", "")) * UNITS[unit or ""]
