"""What measured rows have in common, as a prior: rows that share something have efficiencies that differ less.

A factor f of a row (the log of its time over the time at peak) is a sum of effects, each drawn once per value of what
it depends on and shrunk towards 0:

    f_i = Σ_e  u_e[key_e(i)] · slope_e(i),    u_e ~ N(0, scale_e²)

so that  cov(f_i, f_j) = Σ_e scale_e² · [key_e(i) = key_e(j)] · slope_e(i) · slope_e(j).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effect:
    """One effect.

    Attributes:
        scale: standard deviation of a draw, in log time; 0 leaves the effect out.
        same: the features that two rows must have in common to share a draw; none: all rows share one.
        slope: the covariate that the draw is multiplied with; empty: 1.
    """

    scale: float
    same: tuple[str, ...] = ()
    slope: str = ""


def covariance(effects: Sequence[Effect], features: Mapping[str, Sequence[object]], rows: int) -> Floats:
    """(n, n) of a factor's prior.  `features` holds n values by name; those of slopes are numbers."""
    total = np.zeros((rows, rows))
    coded = {name: codes(features[name]) for name in {name for effect in effects for name in effect.same}}
    for effect in effects:
        if not effect.scale:
            continue
        term = np.full((rows, rows), effect.scale**2)
        for name in effect.same:
            term *= coded[name][:, None] == coded[name]
        if effect.slope:
            slope = np.asarray(features[effect.slope], float)
            term *= slope[:, None] * slope
        total += term
    return total


def codes(values: Sequence[object]) -> NDArray[np.int64]:
    """An integer per value, the same for equal ones."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values])
