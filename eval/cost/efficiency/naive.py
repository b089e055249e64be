"""The prediction to beat: a parabola through two points of the same series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.cost.published import Measured


def two_point_rate(row: Measured, others: Sequence[Measured]) -> float | None:
    """Tokens per second of t(N) = a·N + b·N² through the shortest and the longest of `others`, rows of its series.

    A row of n tokens after d takes t(d + n) - t(d).  None for decode, and without two lengths other than the row's;
    below 0 where the parabola falls.
    """
    others = [other for other in others if _columns(other) != _columns(row)]
    if row.decode or len({_columns(other) for other in others}) < 2:
        return None
    ends = min(others, key=_end), max(others, key=_end)
    a, b = np.linalg.solve([_columns(end) for end in ends], [end.ms for end in ends])
    linear, square = _columns(row)
    return 1e3 * row.tokens / float(a * linear + b * square)


def _end(row: Measured) -> int:
    return row.depth + row.tokens


def _columns(row: Measured) -> tuple[float, float]:
    return float(row.tokens), float(_end(row) ** 2 - row.depth**2)
