"""Where names stand beside points: each at the nearest place that is free, and none is left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from eval.report.page.plot import LETTER, Size

_LINE = 12.0
"""Height of a name, pixels."""
_MARK = 5.0
"""From the middle of a marker to its edge."""
_CROSSED = 0.1
"""What a pixel of a line that is crossed counts, beside one of a name that is covered."""
_RINGS = range(9, 120, 6)
"""How far names are moved away from their points, pixels."""
_WAYS = tuple(math.radians(angle) for angle in (0, 180, 90, 270, 45, 135, 315, 225, 22, 158, 338, 202))
"""In this order: right, left, above, below, and between."""


class Box(NamedTuple):
    """Pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: Box) -> float:
        """Area of what both cover."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(across, 0.0) * max(down, 0.0)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Of the box, to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


def places(size: Size, points: Sequence[tuple[float, float, str]]) -> list[Box]:
    """A box for each (x, y, name), in this order: near its point, off all points, other names and the lines to them.

    Where the panel is full a name stands where it covers least; to cross a line is less than to cover a name.
    """
    kept = [Box(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y, _ in points]
    names: list[Box] = []
    leads: list[Box] = []
    for x, y, name in points:
        best: tuple[float, Box, list[Box]] | None = None
        for box in _around(size, x, y, LETTER * len(name)):
            covered = _shared([box], kept) + _shared([box], names)
            if best is not None and covered >= best[0]:
                continue
            lead = _lead(x, y, box)
            covered += _CROSSED * (_shared([box], leads) + _shared(lead, names))
            if best is None or covered < best[0]:
                best = covered, box, lead
            if not covered:
                break
        assert best is not None, "the first ring is always tried"
        names.append(best[1])
        leads += best[2]
    return names


def _shared(some: Sequence[Box], others: Sequence[Box]) -> float:
    return sum(one.shared(other) for one in some for other in others)


def _lead(x: float, y: float, box: Box) -> list[Box]:
    """Pieces of the line from a point, its marker left out, to its name."""
    to_x, to_y = box.nearest(x, y)
    far = math.hypot(to_x - x, to_y - y)
    steps = (at / far for at in range(round(2 * _MARK), int(far), 4))
    middles = ((x + step * (to_x - x), y + step * (to_y - y)) for step in steps)
    return [Box(a - 1, b - 1, a + 1, b + 1) for a, b in middles]


def _around(size: Size, x: float, y: float, width: float) -> Iterator[Box]:
    """Places in rings around a point, moved into the panel."""
    (left, right), (bottom, top) = (size.left + 2, size.width - 2), size.upward
    for far in _RINGS:
        for way in _WAYS:
            across, up = math.cos(way), math.sin(way)
            middle = x + across * (far + width / 2), y - up * (far + _LINE / 2)
            start = max(min(middle[0] - width / 2, right - width), left)
            over = min(max(middle[1] - _LINE / 2, top - 4), bottom - _LINE)
            yield Box(start, over, start + width, over + _LINE)
