"""A model of published times: a sum of terms, each with an efficiency that is shared between rows in part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.cost.efficiency.effects import Effect, covariance
from eval.cost.efficiency.posterior import Problem
from eval.cost.efficiency.work import context_log2, rows_log2, traits
from eval.cost.published import Measured

Terms = Callable[[Measured], tuple[float, ...]]


@dataclass(frozen=True)
class TimeModel:
    """One kind of rows.

    Attributes:
        names: of the terms.
        terms: seconds of each at a factor of 1.
        typical: the factor that each is expected to have, e.g. 6 for an efficiency of 1/6.
        effects: by term, what factors share; a term without any has its factor fixed.
        run: what a whole time shares with others of the same run.
        noise: relative deviation of a row beyond the published one.
    """

    names: tuple[str, ...]
    terms: Terms
    typical: tuple[float, ...]
    effects: Mapping[str, tuple[Effect, ...]]
    run: Mapping[str, float]
    noise: Mapping[str, float]

    def problem(self, rows: Sequence[Measured], known: Sequence[bool]) -> Problem:
        """Of rows of one backend or of several."""
        n, features = len(rows), features_of(rows)
        prior = [covariance(self.effects.get(name, ()), features, n) for name in self.names]
        backend = [row.setup.backend for row in rows]
        run = np.array([self.run[b] for b in backend])
        run_nn = covariance((Effect(1.0, ("run",)),), features, n) * np.outer(run, run)
        noise = [self.noise[b] ** 2 + row.repeat_error**2 for b, row in zip(backend, rows, strict=True)]
        return Problem(
            np.array([self.terms(row) for row in rows]).T, np.log(self.typical), np.array(prior), run_nn,
            np.array(noise), np.log([row.ms / 1e3 for row in rows]), np.array(known, bool),
        )  # fmt: skip


def features_of(rows: Sequence[Measured]) -> dict[str, list[object]]:
    """All that effects may name."""
    columns: dict[str, Callable[[Measured], object]] = {
        "backend": lambda r: r.setup.backend,
        "stack": lambda r: r.setup.stack,
        "kernel": lambda r: r.setup.attention,
        "blas": lambda r: r.setup.blas,
        "engine": lambda r: r.setup.engine,
        "build": lambda r: r.setup.build,
        "run": lambda r: (r.setup.run, r.name, r.quant),
        "model": lambda r: r.model,
        "quant": lambda r: r.quant,
        "weights": lambda r: (r.model, r.bits),
        "floats": lambda r: r.bits >= 16,
        "experts": lambda r: traits(r.model).has_experts,
        "states": lambda r: (r.model, r.setup.build) if traits(r.model).has_states else None,
        "head_dim": lambda r: traits(r.model).head_dim,
        "micro_batch_log2": lambda r: math.log2(r.micro_batch / 512),
        "context_log2": context_log2,
        "rows_log2": rows_log2,
    }
    return {name: [column(row) for row in rows] for name, column in columns.items()}
