"""How the FLOPs of a prompt grow with it, held against the sum over its tokens."""

from __future__ import annotations

import numpy as np

from attention.cost import Growth


def off_quadratic(each_t: np.ndarray, growth: Growth) -> tuple[float, float]:
    """How far a prompt's FLOPs are from the quadratic through the ends of its periods: there, and anywhere."""
    whole, settled = np.cumsum(each_t), growth.settled_tokens  # of 1, 2, ... tokens
    ends, lengths = np.arange(settled, len(whole) + 1, growth.period_tokens), np.arange(settled, len(whole) + 1)
    quadratic = np.polynomial.Polynomial.fit(ends, whole[ends - 1], 2)
    at_ends, anywhere = (np.abs(whole[n - 1] - quadratic(n)).max() for n in (ends, lengths))
    return at_ends, anywhere


def assert_growth_is_that_of_tokens(each_t: np.ndarray, growth: Growth, most: int = 20) -> None:
    """Over a period FLOPs grow linearly, once settled; the ripple is enough, and not `most` times that."""
    whole, period = np.cumsum(each_t), growth.period_tokens
    assert not np.diff(whole[period:] - whole[:-period], 2)[growth.settled_tokens + period :: period].any()
    _, off = off_quadratic(each_t, growth)
    assert off <= growth.ripple_flops < most * off
