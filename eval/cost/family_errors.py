"""Errors of predicted rates by family of rows."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from eval.cost.validation import Prediction

GOOD_FIT: Final = 0.05
"""Median relative error from which on the model is said not to fit a family."""


@dataclass(frozen=True)
class FamilySummary:
    """Errors of one family of rows under one scheme; an error that nothing is known of is None.

    Attributes:
        count: rows that were predicted; `unknown` of them with "I don't know", which the errors leave out.
        coverage: share of all intervals that hold what was published; `coverage_within` its own interval of 95 %, as if
            rows were independent.
        naive_count, naive_median_error: of the parabola, where the series has two more lengths.
        beside_naive_error: this project's median on those rows.
    """

    scheme: str
    family: str
    count: int
    unknown: int
    median_error: float | None
    p90_error: float | None
    coverage: float
    coverage_within: tuple[float, float]
    naive_count: int
    naive_median_error: float | None
    beside_naive_error: float | None

    @property
    def fits(self) -> bool:
        return self.median_error is not None and self.median_error < GOOD_FIT

    @property
    def verdict(self) -> str:
        if self.median_error is None:
            return "not known"
        return "fits" if self.fits else "does not fit"


def summarise(predictions: Iterable[Prediction]) -> list[FamilySummary]:
    """Per scheme and family."""
    found: dict[tuple[str, str], list[Prediction]] = defaultdict(list)
    for one in predictions:
        found[one.scheme, one.row.family].append(one)
    return [_summary(scheme, family, made) for (scheme, family), made in found.items()]


def _summary(scheme: str, family: str, made: list[Prediction]) -> FamilySummary:
    errors = [abs(one.error) for one in made if one.known]
    covered = sum(one.covered for one in made)
    naive = [(abs(one.naive_error), abs(one.error)) for one in made if one.naive_error is not None]
    return FamilySummary(
        scheme, family, len(made), len(made) - len(errors), _median(errors),
        float(np.quantile(errors, 0.9)) if errors else None, covered / len(made), proportion_within(covered, len(made)),
        len(naive),
        _median([theirs for theirs, _ in naive]), _median([ours for _, ours in naive]),
    )  # fmt: skip


def proportion_within(count: int, of: int) -> tuple[float, float]:
    """The interval of 95 % of a probability of which so many of so many trials came true (Wilson, 1927)."""
    share, z = count / of, 1.96
    middle, half = share + z**2 / (2 * of), z * math.sqrt(share * (1 - share) / of + (z / (2 * of)) ** 2)
    low, high = ((middle + sign * half) / (1 + z**2 / of) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)


def _median(errors: Sequence[float]) -> float | None:
    return statistics.median(errors) if errors else None
