"""Errors by family, of predictions whose errors are chosen."""

from __future__ import annotations

import pytest

from eval.cost.family_errors import summarise
from eval.cost.validation import Prediction
from tests.eval.cost.packaged import measured


def test_errors_are_without_sign_and_leave_unknown_rows_out() -> None:
    made = []
    for place in range(11):  # errors of 0, -1, +2, ... -9, +10 %, whose intervals are 3.5 % wide to either side
        rate = 100 * (1 + place / 100 * (-1) ** place)
        row = measured("llama2-7b", 2049 + place, 0, 100.0)
        made.append(Prediction(row, "one", rate, 0.965 * rate, 1.035 * rate, {}, "", 90.0 if place < 3 else None))
    row = measured("llama2-7b", 2100, 0, 100.0)
    made.append(Prediction(row, "one", 500.0, 1.0, 999.0, {}, "", 130.0))  # "I don't know", and it covers
    [found] = summarise(made)
    assert (found.scheme, found.count, found.unknown, found.naive_count) == ("one", 12, 1, 4)
    assert (found.median_error, found.p90_error) == pytest.approx((0.05, 0.09))
    assert found.coverage == 5 / 12 and found.naive_median_error == pytest.approx(0.1)
    assert found.beside_naive_error == pytest.approx(0.015) and found.verdict == "does not fit"
    [nothing] = summarise(made[-1:])
    assert (nothing.median_error, nothing.p90_error, nothing.verdict) == (None, None, "not known")
