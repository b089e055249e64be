"""Times at several lengths as a sum of one or two terms: least squares on relative errors, and a bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Curve:
    """`terms` [terms, lengths] and the `samples` in ms of each length; there are more lengths than terms."""

    terms: np.ndarray
    samples: Sequence[Sequence[float]]

    @cached_property
    def medians(self) -> np.ndarray:
        """Of the samples, in ms [lengths]."""
        return np.array([np.median(one) for one in self.samples])

    @cached_property
    def point(self) -> np.ndarray:
        """Coefficients of the fit to the medians, none negative: [terms]."""
        return least_squares(self.terms, self.medians[None])[0]

    @cached_property
    def misfit(self) -> float:
        """Root of the sum of (median / curve - 1)² over the number of lengths less the number of terms."""
        left_over = self.terms.shape[1] - len(self.terms)
        return float(np.sqrt(np.sum((self.medians / (self.point @ self.terms) - 1) ** 2) / left_over))

    def coefficients(self, draws: int, rng: np.random.Generator) -> np.ndarray:
        """[1 + draws, terms]: of the medians, then of each draw.

        A draw takes samples with replacement, and shakes each length by the misfit that the curve leaves.
        """
        resampled = [np.median(rng.choice(one, (draws, len(one))), axis=1) for one in self.samples]
        times = np.stack(resampled, axis=1)
        shaken = times * np.exp(self.misfit * rng.standard_normal(times.shape))
        return np.concatenate([self.point[None], least_squares(self.terms, shaken)])


def least_squares(terms: np.ndarray, times: np.ndarray) -> np.ndarray:
    """argmin over x >= 0 of |x @ terms / times - 1|² for each row of `times`: [draws, terms]; one or two terms."""
    scaled = terms[None] / times[:, None]  # [draws, terms, lengths]
    alone = scaled.sum(-1) / (scaled**2).sum(-1)  # each term by itself
    if len(terms) == 1:
        return alone
    both = np.linalg.solve(scaled @ scaled.transpose(0, 2, 1), scaled.sum(-1)[..., None])[..., 0]
    # A negative coefficient puts the optimum on an edge; with one term x, |x·s - 1|² falls by x·sum(s).
    better = alone * scaled.sum(-1)
    edge = np.where(better == better.max(-1, keepdims=True), alone, 0.0)
    return np.where((both >= 0).all(-1, keepdims=True), both, edge)
