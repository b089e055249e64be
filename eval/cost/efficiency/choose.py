"""The scales of effects, chosen by how well rows are predicted that were left out.

Scales are half decades, so that a handful of them can be told apart by a thousand rows: too few to fit noise with.  The
score is the mean over schemes (`eval.cost.efficiency.groups`) of the negative log density of what was left out, by a
Student t of 4 degrees of freedom, which an outlier does not rule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from eval.cost.efficiency.groups import SCHEMES, groups
from eval.cost.efficiency.model import TimeModel
from eval.cost.efficiency.posterior import fit, predict
from eval.cost.published import Measured

SCALES: Final = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
LEAST_GAIN: Final = 0.003
"""A move must gain so much; leaving an effect out may lose so much."""


def score(model: TimeModel, rows: Sequence[Measured]) -> float:
    """Lower is better: nats per row."""
    problem = model.problem(rows, [True] * len(rows))
    fitted = fit(problem)
    scores: list[float] = []
    for scheme in SCHEMES:
        losses: list[float] = []
        for group in groups(rows, scheme):
            if len(group) == len(rows):  # nothing is left to learn from
                continue
            made = predict(problem, fitted, group, group)
            z = (problem.log_seconds_n[group] - made.log_seconds_g) / made.sd_g
            losses.extend(2.5 * np.log1p(z**2 / 4) + np.log(made.sd_g))
        if losses:
            scores.append(float(np.mean(losses)))
    return float(np.mean(scores))


def neighbours(model: TimeModel) -> Iterator[tuple[str, TimeModel]]:
    """Each scale a step up, a step down, and 0; what all rows share is left free."""
    for term, effects in model.effects.items():
        for i, effect in enumerate(effects):
            if not (effect.same or effect.slope):
                continue
            at = SCALES.index(effect.scale)
            for other in sorted({0, max(at - 1, 0), min(at + 1, len(SCALES) - 1)} - {at}):
                moved = (*effects[:i], dataclasses.replace(effect, scale=SCALES[other]), *effects[i + 1 :])
                words = f"{term} {', '.join(effect.same) or 'all'} {effect.slope}: {effect.scale} -> {SCALES[other]}"
                yield words, dataclasses.replace(model, effects={**model.effects, term: moved})
