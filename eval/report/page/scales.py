"""Scales from data to pixels, and the ticks that belong on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["linear", "log", "sqrt"]

_BEND: Mapping[Kind, Callable[[float], float]] = {
    "linear": float,
    "log": math.log,
    "sqrt": lambda value: math.sqrt(max(value, 0.0)),
}


@dataclass(frozen=True)
class Scale:
    """`low` is drawn at `start` pixels and `high` at `end`; a square root shows zero and what is near it."""

    low: float
    high: float
    start: float
    end: float
    kind: Kind = "linear"

    def __call__(self, value: float) -> float:
        low, high, value = map(_BEND[self.kind], (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def clip(self, value: float) -> float:
        """`value`, or the nearer end of the scale."""
        return min(max(value, self.low), self.high)


def around(values: Iterable[float], start: float, end: float, kind: Kind = "linear", room: float = 0.06) -> Scale:
    """A scale over all values with some room at both ends; a linear or square-root one starts at zero."""
    values = [value for value in values if math.isfinite(value)]
    low, high = min(values), max(values)
    if kind != "log":
        return Scale(0.0, high * (1 + room) if high > 0 else 1.0, start, end, kind)
    ratio = (high / low) ** room if high > low else 1.5
    return Scale(low / ratio, high * ratio, start, end, kind)


def ticks(scale: Scale, gap: float) -> list[float]:
    """Round numbers on the scale, at least `gap` pixels apart."""
    return thinned(_round_log(scale) if scale.kind == "log" else _round_linear(scale), scale, gap)


def thinned(values: Sequence[float], scale: Scale, gap: float) -> list[float]:
    """The values on the scale, from the largest down, without those that stand too near to the one before."""
    kept: list[float] = []
    for value in sorted(values, reverse=True):
        on_scale = scale.low <= value <= scale.high
        if on_scale and (not kept or abs(scale(kept[-1]) - scale(value)) >= gap):
            kept.append(value)
    return kept[::-1]


def _round_log(scale: Scale) -> list[float]:
    decades = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5)):
        found = [step * 10.0**k for k in decades for step in steps]
        if sum(scale.low <= value <= scale.high for value in found) >= 4:
            break
    else:
        return _round_linear(scale)
    return found


def _round_linear(scale: Scale) -> list[float]:
    span = scale.high - scale.low
    step = 10.0 ** math.floor(math.log10(span / 2))
    step *= next(k for k in (1, 2, 5, 10) if span / (k * step) <= 6)
    found = [k * step for k in range(math.ceil(scale.low / step), math.floor(scale.high / step) + 1)]
    return found + [step / 10, step / 4] * (scale.kind == "sqrt")
