"""Split conformal widths."""

from __future__ import annotations

import numpy as np
import pytest

from eval.cost.efficiency.interval import FEWEST, NORMAL, half_width


def test_the_rank_by_hand() -> None:
    z = np.arange(1.0, 100.0)  # 99 rows: the 90th smallest
    assert half_width(np.random.default_rng(0).permutation(z)) == 90
    assert half_width(np.arange(float(FEWEST))) == 18  # ceil(21 x 0.9) = 19th of 0, 1, ...


def test_others_never_narrow_an_interval() -> None:
    assert half_width(np.linspace(0, 1, 99)) == NORMAL


def test_too_few_rows_are_taken_at_their_word() -> None:
    assert half_width(np.full(FEWEST - 1, 7.0)) == NORMAL


@pytest.mark.parametrize("heavy", [1.0, 3.0])
def test_new_rows_are_covered_whatever_the_distribution(heavy: float) -> None:
    rng = np.random.default_rng(1)
    inside = [abs(rng.standard_t(heavy)) <= half_width(np.abs(rng.standard_t(heavy, 59))) for _ in range(2000)]
    assert 0.88 < np.mean(inside) < 0.93
