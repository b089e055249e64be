"""Predictions of the cost model against published rates.

    ms = 1e3 · ( linear FLOPs / (peak · e_linear)  +  attention FLOPs / (peak · e_attention)  [+ fixed] )

An attention efficiency is a property of a backend: it is fitted on the models with full attention in one setup and
carried to every other model there.  A linear efficiency is a property of a model and its quantisation: it is taken
from the model's own shortest row.  The longer rows are then predicted, never fitted.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from eval.cost.cards import Card
from eval.cost.published import Measured

GOOD_FIT: Final = 0.2
"""Median relative error above which the model form is said not to fit."""


@dataclass(frozen=True)
class Efficiencies:
    """Fractions of peak; outside (0, 1] the two-term form does not describe the rows."""

    linear: float
    attention: float
    fixed_ms: float = 0.0

    @property
    def physical(self) -> bool:
        return 0 < self.linear <= 1 and 0 < self.attention <= 1 and self.fixed_ms >= 0


@dataclass(frozen=True)
class Prediction:
    """A published row, its predicted rate, and the efficiencies behind it; `basis` says what they were fitted on."""

    row: Measured
    tokens_per_s: float
    used: Efficiencies
    basis: str

    @property
    def error(self) -> float:
        """(predicted - published) / published."""
        return self.tokens_per_s / self.row.tokens_per_s - 1


@dataclass(frozen=True)
class Unfitted:
    """Rows that the form cannot describe, and why."""

    rows: tuple[Measured, ...]
    reason: str


def fit(rows: Sequence[Measured], card: Card, dtype: str = "f16") -> Efficiencies:
    """Both efficiencies from two or more rows of one model, least squares of relative errors of the times."""
    peak = card.peak_flops_per_s(dtype)
    work = np.array([row.work for row in rows], float)
    seconds = np.array([row.ms / 1e3 for row in rows])
    per_flop, *_ = np.linalg.lstsq(work / seconds[:, None], np.ones(len(rows)), rcond=None)
    return Efficiencies(*(float(1 / (peak * s)) if s else float("inf") for s in per_flop))


def linear_given_attention(row: Measured, attention: float, card: Card, dtype: str = "f16") -> float:
    """The linear efficiency that one row implies once the attention efficiency is known."""
    peak = card.peak_flops_per_s(dtype)
    linear, attended = row.work
    return linear / (peak * (row.ms / 1e3 - attended / (peak * attention)))


def fit_with_fixed(
    rows: Sequence[Measured], card: Card, dtype: str = "f16", attention: float | None = None
) -> Efficiencies:
    """Both efficiencies and a fixed cost, from three rows; from two where the attention efficiency is given."""
    peak = card.peak_flops_per_s(dtype)
    seconds = np.array([row.ms / 1e3 for row in rows])
    work = np.array([(*row.work, 1.0) for row in rows])
    if attention is not None:
        seconds, work = seconds - work[:, 1] / (peak * attention), work[:, [0, 2]]
    solution, *_ = np.linalg.lstsq(work / seconds[:, None], np.ones(len(rows)), rcond=None)
    linear, *attended, fixed = (float(x) for x in solution)
    if attention is None:
        attention = 1 / (peak * attended[0])
    return Efficiencies(1 / (peak * linear), attention, 1e3 * fixed)


def predict(row: Measured, used: Efficiencies, card: Card, dtype: str = "f16") -> float:
    """Tokens per second."""
    peak = card.peak_flops_per_s(dtype)
    linear, attended = row.work
    return row.tokens / (linear / (peak * used.linear) + attended / (peak * used.attention) + used.fixed_ms / 1e3)


def validate(rows: Iterable[Measured], card: Card) -> tuple[list[Prediction], list[Unfitted]]:
    """Predictions of every longer row, setup by setup, and the rows that no prediction is made for."""
    setups: dict[str, dict[tuple[str, str], list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        setups[row.setup][row.model, row.quant].append(row)
    predictions: list[Prediction] = []
    unfitted: list[Unfitted] = []
    series: dict[str, list[list[Measured]]] = defaultdict(list)
    for setup, models in setups.items():
        several = {model: group for model, rows in models.items() if len(group := _by_length(rows)) > 1}
        series[setup.partition(" ")[0]] += [group for group in several.values() if len(group) > 2]
        made, not_made = _one_setup({model: group for model, group in several.items() if len(group) == 2}, card)
        predictions += made
        unfitted += not_made
    for runs in series.values():
        for one in _one_publisher(runs, card):
            if isinstance(one, Unfitted):
                unfitted.append(one)
            else:
                predictions.append(one)
    return predictions, unfitted


def _by_length(rows: Iterable[Measured]) -> list[Measured]:
    """One row per length, the first of several, shortest context first."""
    first: dict[tuple[int, int], Measured] = {}
    for row in rows:
        first.setdefault((row.depth + row.tokens, row.tokens), row)
    return [first[key] for key in sorted(first)]


def _one_setup(models: dict[tuple[str, str], list[Measured]], card: Card) -> tuple[list[Prediction], list[Unfitted]]:
    """Models with two rows: the longer one of each."""
    predictions, unfitted = [], []
    fits = {model: fit(rows, card) for model, rows in models.items() if not rows[0].has_windows}
    for model, rows in models.items():
        donors = {other: one.attention for other, one in fits.items() if other != model and one.physical}
        made = _carried(rows, donors, card)
        if isinstance(made, Unfitted):
            unfitted.append(made)
        else:
            predictions += made
    return predictions, unfitted


def _one_publisher(runs: list[list[Measured]], card: Card) -> Iterable[Prediction | Unfitted]:
    """Runs of three or more rows: the longest of each from its shorter ones.

    Where two terms do not describe these, a fixed cost is added, and the attention efficiency, which three rows of a
    run can no longer test, is taken from the publisher's other runs.
    """
    for rows in runs:
        *shorter, longest = rows
        used, basis = fit(shorter, card), "shorter rows of the model"
        if not used.physical:
            others = [fit_with_fixed(other, card) for other in runs if other is not rows]
            donors = [other.attention for other in others if other.physical]
            if donors:
                used = fit_with_fixed(shorter, card, attention=statistics.median(donors))
                basis = f"shorter rows, a fixed {used.fixed_ms:.0f} ms, attention of the publisher's other runs"
        if used.physical:
            yield Prediction(longest, predict(longest, used, card), used, basis)
        else:
            rates = ", ".join(f"{row.tokens_per_s:,.0f} at {row.tokens:,}" for row in rows)
            yield Unfitted(tuple(rows), f"no physical efficiencies: {rates}")


def _carried(rows: list[Measured], donors: dict[tuple[str, str], float], card: Card) -> list[Prediction] | Unfitted:
    """Longer rows from the model's own shortest one and the attention efficiency of others in the same setup."""
    shortest, *longer = rows
    if not donors:
        return Unfitted(tuple(rows), "no other full-attention model in this setup has a physical fit")
    attention = statistics.median(donors.values())
    used = Efficiencies(linear_given_attention(shortest, attention, card), attention)
    if not used.physical:
        return Unfitted(tuple(rows), f"the shortest row is too fast for an attention efficiency of {attention:.3f}")
    names = ", ".join(sorted({model for model, _ in donors}))
    return [Prediction(row, predict(row, used, card), used, f"attention of {names}") for row in longer]


@dataclass(frozen=True)
class FamilySummary:
    """Errors over one family of backends."""

    family: str
    windows: bool
    count: int
    median_error: float
    largest_error: float

    @property
    def fits(self) -> bool:
        return self.median_error <= GOOD_FIT


def summarise(predictions: Iterable[Prediction]) -> list[FamilySummary]:
    """Median and largest absolute error per family, models with and without windows apart."""
    groups: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for one in predictions:
        groups[one.row.family, one.row.has_windows].append(abs(one.error))
    return [
        FamilySummary(family, windows, len(errors), statistics.median(errors), max(errors))
        for (family, windows), errors in sorted(groups.items())
    ]
