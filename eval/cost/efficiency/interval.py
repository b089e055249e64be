"""Intervals that cover: deviations scaled by how far left-out rows really were off (split conformal prediction).

With z = |log measured - log predicted| / deviation of m calibration rows, the interval of a new row is its deviation
times the ceil((m + 1)·0.9)-th smallest z (Vovk, Gammerman and Shafer, 2005; Lei et al., 1604.04173), so that it covers
nine of ten exchangeable rows whatever the distribution.  It is never less than the deviation itself asks for: rows are
left out in groups (a model, a build), of which a few others are no sample, and may widen an interval but not narrow it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from eval.cost.efficiency.effects import Floats

COVERAGE: Final = 0.9
NORMAL: Final = 1.6449
"""Deviations that cover nine tenths of a normal distribution."""
FEWEST: Final = 20
"""Rows that a calibration needs; with fewer the deviation is taken at its word."""
KNOWN_WITHIN: Final = 2.0
"""A prediction whose interval's ends differ by a larger factor says that it does not know."""


def half_width(z: Floats) -> float:
    """Deviations to either side, from the z of rows that are not predicted by it."""
    if len(z) < FEWEST:
        return NORMAL
    rank = min(math.ceil((len(z) + 1) * COVERAGE), len(z))
    return max(NORMAL, float(np.sort(z)[rank - 1]))
