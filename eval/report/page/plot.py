"""One panel: a frame with two axes, as SVG that grows with the page."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from eval.report.page.markup import Markup, element, join
from eval.report.page.scales import Kind, Scale, around, thinned, ticks

Words = Callable[[float], str]


@dataclass(frozen=True)
class Size:
    """Of a panel, in units that are pixels at its natural width: whole, and the margins around the frame."""

    width: int
    height: int
    left: int
    right: int
    top: int = 34
    bottom: int = 36

    @property
    def across(self) -> tuple[int, int]:
        return self.left, self.width - self.right

    @property
    def upward(self) -> tuple[int, int]:
        return self.height - self.bottom, self.top


LETTER = 7.0
"""Width of a letter of a name, pixels, at the size that it has on narrow screens; an upper bound of common fonts."""
LINE = 13.0
"""From a name to the one below it, pixels."""


def named(names: Collection[str]) -> Size:
    """With these names at the ends of lines: as wide and as high as they need."""
    right = 24 + round(LETTER * max(map(len, names), default=0))
    return Size(264 + right, max(320, 70 + round(LINE * len(names))), 50, right)


BARE = Size(272, 210, 46, 14)
"""One of several beside each other."""
ENDED = Size(272, 210, 46, 58)
"""The same with room for short names at the ends of lines."""
WIDE = Size(416, 320, 50, 24)
"""With names beside the points."""


@dataclass(frozen=True)
class Axis:
    """A scale, what it measures, and its ticks in words."""

    scale: Scale
    label: str
    ticks: Sequence[float]
    words: Words


def axis(size: Size, way: str, values: Iterable[float], label: str, words: Words, kind: Kind = "linear",
         at: Sequence[float] = (), room: float = 0.06) -> Axis:  # fmt: skip
    """An axis over all values, `way` being x or y; with ticks `at` given places, or at round numbers."""
    start, end = size.across if way == "x" else size.upward
    scale = around(values, start, end, kind, room)
    gap = 44 if way == "x" else 18
    return Axis(scale, label, thinned(at, scale, gap) if at else ticks(scale, gap), words)


@dataclass(frozen=True)
class Plot:
    """A panel's frame."""

    title: str
    size: Size
    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> tuple[float, float]:
        """In pixels."""
        return self.x.scale(x), self.y.scale(y)

    def svg(self, marks: Iterable[object], description: str) -> Markup:
        """The panel with its marks.  A group, not an image: what is in it can be focused."""
        size = self.size
        return element(
            "svg", element("desc", description), self._grid(), *marks, class_="plot", role="group",
            aria_label=self.title, viewBox=f"0 0 {size.width} {size.height}",
        )  # fmt: skip

    def _grid(self) -> Markup:
        size = self.size
        (left, right), (bottom, top) = size.across, size.upward
        parts = [element("text", self.title, class_="title", x=2, y=12)]
        for value in self.x.ticks:
            x = self.x.scale(value)
            parts.append(element("line", class_="grid", x1=x, x2=x, y1=bottom, y2=top))
            parts.append(element("text", self.x.words(value), class_="tick", x=x, y=bottom + 14, text_anchor="middle"))
        for value in self.y.ticks:
            y = self.y.scale(value)
            parts.append(element("line", class_="grid", x1=left, x2=right, y1=y, y2=y))
            parts.append(element("text", self.y.words(value), class_="tick", x=left - 6, y=y + 3.5, text_anchor="end"))
        parts.append(element("line", class_="base", x1=left, x2=right, y1=bottom, y2=bottom))
        parts.append(element("text", self.y.label, class_="axis", x=2, y=26))
        parts.append(
            element("text", self.x.label, class_="axis", x=(left + right) / 2, y=bottom + 29, text_anchor="middle")
        )
        return element("g", join(parts), aria_hidden="true")
