"""FLOPs as functions of the prompt's length: a model's attention, and the line that its linear layers are.

A curve does not fall, or by as much as is known: `fall`.  What else is known of it, `attention.cost.Growth`, bounds
it between two lengths:

    chord - sag  <=  A(n)  <=  chord + ripple

for A lies at most `ripple` above a convex function, which lies above its tangents at both ends.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np

from attention.cost import ONLY_LAYER, Depth, Growth, Heads
from attention.mixer import Mixer
from refmodel.specification import ModelConfig

SURE: Final = 24
"""Standard errors that a sum of lots stays within twice over, above a mean less as much: 1e-30 by Hoeffding."""

Quadratic = tuple[Fraction, Fraction, Fraction]
"""Coefficients of 1, n and n²."""


class AttendingLayer(NamedTuple):
    """What its cost depends on; the depth is `ONLY_LAYER` where it does not matter."""

    mixer: Mixer
    heads: Heads
    depth: Depth

    def useful(self, tokens: int) -> int:
        """FLOPs of a prompt of so many tokens."""
        return self.mixer.at_length(tokens).useful(self.heads, tokens, depth=self.depth).flops(self.heads)


def attending_layers(model: ModelConfig) -> Counter[AttendingLayer]:
    """How often each occurs."""
    layers = model.layers
    depths = [Depth(i, len(layers)) for i in range(len(layers))]
    return Counter(
        AttendingLayer(mixer, layer.heads, depth if mixer.differs_by_depth(len(layers)) else ONLY_LAYER)
        for depth, layer in zip(depths, layers, strict=True)
        if (mixer := layer.mixer) and layer.attends
    )


@dataclass(frozen=True)
class Course:
    """What a curve follows in the long run, all layers together: see `attention.cost.Growth`."""

    settled_tokens: int
    period_tokens: int | None
    quadratic: Quadratic
    power: float
    """The ripple grows as n to this power at most."""


class AttentionCurve:
    """`scale` times the useful attention FLOPs of a prompt, in all layers; exact integers."""

    def __init__(self, layers: Counter[AttendingLayer], scale: int = 1) -> None:
        self.layers, self.scale = layers, scale
        self._growth = {one: one.mixer.growth(one.heads, one.depth) for one in layers}
        self._totals = {0: 0}

    def total(self, tokens: int) -> int:
        """Of a prompt of so many tokens."""
        if tokens not in self._totals:
            self._totals[tokens] = self.scale * sum(times * one.useful(tokens) for one, times in self.layers.items())
        return self._totals[tokens]

    def by_token(self, start: int, tokens: int) -> np.ndarray:
        """By how much each token start..start+tokens-1 makes a prompt dearer: int64 [T], or Python integers."""
        flops_t = np.zeros(tokens, np.int64)
        for (mixer, heads, depth), times in self.layers.items():
            flops_t += times * mixer.token_flops(heads, start, tokens, depth)
        return _times(flops_t, self.scale)

    def ripple(self, tokens: int) -> int:
        """Most that a prompt of `tokens` may be off what it follows; lots of different layers are independent."""
        growths = [(self._known(one), times) for one, times in self.layers.items()]
        regular = sum(times * (one.ripple_flops + one.ripple_flops_per_token * tokens) for one, times in growths)
        lots = [times * one.lot.error_flops * tokens**one.lot.power for one, times in growths if one.lot]
        return self.scale * (regular + math.ceil(SURE * math.hypot(*lots)))

    def fall(self, tokens: int) -> int:
        """Most by which a shorter prompt may be dearer than one of `tokens`."""
        falling = [(one, times) for key, times in self.layers.items() if (one := self._growth[key]) and one.falls]
        most = (times * (one.ripple_flops + one.ripple_flops_per_token * tokens) for one, times in falling)
        return self.scale * sum(most)

    def sag(self, low: int, high: int) -> int | None:
        """Most that the curve lies below its chord from `low` to `high`; None for an interval near 0.

        A convex g lies above its tangents at both ends, whose gap to the chord is at most a quarter of the width times
        the difference of their slopes; and those are bounded by the chords over as many tokens before and after.
        """
        width = high - low
        if width > low:
            return None
        ripple = self.ripple(high + width)
        bend = self.total(high + width) - self.total(high) - self.total(low) + self.total(low - width)
        return ripple + (bend + 2 * ripple) // 4 + 1 if bend or ripple else 0

    @property
    def course(self) -> Course | None:
        """None if it is not known of some layer."""
        if None in self._growth.values():
            return None
        layers = [(self._known(one), times, one) for one, times in self.layers.items()]
        quadratics = [[self.scale * times * x for x in _quadratic(one, growth)] for growth, times, one in layers]
        constant, line, square = (sum(column, Fraction(0)) for column in zip((0, 0, 0), *quadratics, strict=True))
        periods = [growth.period_tokens for growth, _, _ in layers]
        return Course(
            max((growth.settled_tokens for growth, _, _ in layers), default=1),
            None if None in periods else math.lcm(*filter(None, periods)),
            (constant, line, square),
            max((_power(growth) for growth, _, _ in layers), default=0),
        )

    @property
    def is_nearly_convex(self) -> bool:
        """Whether `ripple` is known, and of a convex function."""
        return all(growth and _power(growth) <= 1 for growth in self._growth.values())

    def _known(self, one: AttendingLayer) -> Growth:
        growth = self._growth[one]
        assert growth is not None
        return growth


class Line:
    """n -> slope · n, as a curve: what a prompt costs in layers that read each token alone."""

    is_nearly_convex = True

    def __init__(self, slope: int) -> None:
        self.slope = slope
        self.course = Course(1, 1, (Fraction(0), Fraction(slope), Fraction(0)), 0)

    def total(self, tokens: int) -> int:
        return self.slope * tokens

    def by_token(self, start: int, tokens: int) -> np.ndarray:
        return _times(np.ones(tokens, np.int64), self.slope)

    def ripple(self, tokens: int) -> int:
        return 0

    def fall(self, tokens: int) -> int:
        return 0

    def sag(self, low: int, high: int) -> int:
        return 0


Curve = AttentionCurve | Line


def _quadratic(one: AttendingLayer, growth: Growth) -> Quadratic:
    """Through three lengths a period apart."""
    if growth.lot:
        return growth.lot.mean
    start, period = growth.settled_tokens, growth.period_tokens
    assert period, f"{one.mixer} has neither a period nor a mean"
    first, second, third = (one.useful(start + i * period) for i in range(3))
    square = Fraction(third - 2 * second + first, 2 * period**2)
    line = Fraction(second - first, period) - square * (2 * start + period)
    return first - line * start - square * start**2, line, square


def _power(growth: Growth) -> float:
    return growth.lot.power if growth.lot else 1 if growth.ripple_flops_per_token else 0


def _times(flops_t: np.ndarray, factor: int) -> np.ndarray:
    """Exact, in int64 where there is room."""
    fits = int(np.abs(flops_t).max(initial=0)) * factor < 2**63
    return flops_t * factor if fits else flops_t.astype(object) * factor
