"""Efficiencies from times: what made the times is found, leaving out is what a new fit says, intervals cover."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.cost.efficiency.effects import Effect, covariance
from eval.cost.efficiency.posterior import Problem, fit, predict

ROWS, TERMS = 61, 2


def drawn(seed: int, noise: float = 0.01) -> tuple[Problem, np.ndarray]:
    """A problem whose factors are drawn from its own prior, and these factors."""
    rng = np.random.default_rng(seed)
    features = {"model": rng.integers(0, 7, ROWS).tolist(), "build": rng.integers(0, 5, ROWS).tolist()}
    prior = np.array(
        [
            covariance((Effect(0.5), Effect(0.3, ("model",)), Effect(0.1, ("model", "build"))), features, ROWS),
            covariance((Effect(0.5), Effect(0.3, ("build",))), features, ROWS),
        ]
    )
    factor_kn = np.array([rng.multivariate_normal(np.zeros(ROWS), one, method="eigh") for one in prior])
    work_kn, mean_k = rng.lognormal(0, 1, (TERMS, ROWS)), np.log([3.0, 11.0])
    seconds = (work_kn * np.exp(mean_k[:, None] + factor_kn)).sum(0)
    log_seconds = np.log(seconds) + noise * rng.standard_normal(ROWS)
    known = np.ones(ROWS, bool)
    run = np.zeros((ROWS, ROWS))
    return Problem(work_kn, mean_k, prior, run, np.full(ROWS, noise**2), log_seconds, known), factor_kn + mean_k[
        :, None
    ]


@pytest.mark.parametrize("seed", range(3))
def test_what_made_the_times_is_found(seed: int) -> None:
    problem, factor_kn = drawn(seed, noise=1e-3)
    made = predict(problem, fit(problem), range(ROWS))
    np.testing.assert_allclose(made.log_seconds_g, problem.log_seconds_n, atol=0.01)
    share_kn = fit(problem).share_kn
    off = np.abs(made.factor_kg - factor_kn)[share_kn > 0.3]
    assert np.median(off) < 0.05 < 0.2 < np.median(np.abs(factor_kn - problem.mean_k[:, None]))


@settings(max_examples=5)
@given(st.integers(0, 99), st.sets(st.integers(0, ROWS - 1), min_size=1, max_size=13))
def test_leaving_out_is_what_a_fit_without_says(seed: int, group: set[int]) -> None:
    problem, _ = drawn(seed)
    left = sorted(group)
    closed = predict(problem, fit(problem), left, without=left)
    without = dataclasses.replace(problem, known_n=~np.isin(np.arange(ROWS), left))
    again = predict(without, fit(without), left)
    np.testing.assert_allclose(closed.log_seconds_g, again.log_seconds_g, atol=0.15 * again.sd_g.max())
    np.testing.assert_allclose(closed.sd_g, again.sd_g, rtol=0.15)


def test_rows_that_are_not_known_are_not_read() -> None:
    problem, _ = drawn(3)
    known = np.arange(ROWS) % 5 > 0
    made = []
    for told in (0.0, 99.0):
        log_seconds = np.where(known, problem.log_seconds_n, told)
        one = dataclasses.replace(problem, known_n=known, log_seconds_n=log_seconds)
        made.append(predict(one, fit(one), range(ROWS)))
    np.testing.assert_array_equal(made[0].log_seconds_g, made[1].log_seconds_g)


def test_nine_of_ten_intervals_hold_what_was_left_out() -> None:
    inside = []
    for seed in range(7):
        problem, _ = drawn(seed)
        fitted = fit(problem)
        for i in range(ROWS):
            made = predict(problem, fitted, [i], without=[i])
            inside.append(abs(made.log_seconds_g[0] - problem.log_seconds_n[i]) < 1.6449 * made.sd_g[0])
    assert 0.85 < np.mean(inside) < 0.95


def test_a_run_shares_what_multiplies_its_times() -> None:
    problem, _ = drawn(5)
    fast = np.arange(ROWS) < 17
    run = 0.5**2 * np.equal.outer(fast, fast).astype(float)
    times = dataclasses.replace(problem, run_nn=run, log_seconds_n=problem.log_seconds_n - 0.4 * fast)
    made = predict(times, fit(times), [0], without=[0])
    assert made.log_seconds_g[0] == pytest.approx(times.log_seconds_n[0], abs=3 * made.sd_g[0])
    assert made.sd_g[0] < 0.3  # the run's other rows tell of it


def test_nothing_known_is_refused() -> None:
    problem, _ = drawn(1)
    with pytest.raises(ValueError, match="no row is known"):
        fit(dataclasses.replace(problem, known_n=np.zeros(ROWS, bool)))
