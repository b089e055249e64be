"""Times as sums of works over unknown efficiencies, fitted at once, and predicted without what is left out.

    log t_i = log Σ_k work_ki · exp(f_ki)  +  run_i  +  noise_i
    f_k ~ N(mean_k, prior_k),   run ~ N(0, prior_run),   noise_i ~ N(0, noise_i)

A Gaussian process over the logs of inverse efficiencies f, with a sum of exponentials on top.  The most likely f is
found by Gauss-Newton: with s_ki the share of term k in row i's time, y linearises to Σ_k s_ki f_ki, whose covariance is
C = Σ_k s_k prior_k s_k + prior_run + noise (Rasmussen and Williams, Gaussian Processes for Machine Learning, ch. 3).

Leaving a group G out needs no new fit: with A = C⁻¹ and α = A y, the weights of the others without G are
α - A[:, G] A[G, G]⁻¹ α[G] (the same, 5.12).  What is approximate in it is where the logs were linearised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.cost.efficiency.effects import Floats

MOST_ITERATIONS = 40
LARGEST_STEP = 1.5
"""Of a log factor in one iteration."""
CONVERGED = 3e-3


@dataclass(frozen=True)
class Problem:
    """n rows whose times are sums of k terms; `known_n` says which are measured, `log_seconds_n` of others is not read.

    Attributes:
        work_kn: seconds of each term at a factor of 1.
        mean_k: prior means of the log factors.
        prior_knn: prior covariances of the log factors.
        run_nn: prior covariance of what multiplies a whole time.
        noise_n: variances.
    """

    work_kn: Floats
    mean_k: Floats
    prior_knn: Floats
    run_nn: Floats
    noise_n: Floats
    log_seconds_n: Floats
    known_n: NDArray[np.bool_]


@dataclass(frozen=True)
class Fit:
    """The most likely factors given the known rows, and what predictions without some of them need.

    Attributes:
        share_kn: of each term in its row's time.
        weight_n: α = C⁻¹ y of the linearised rows, 0 for unknown ones.
        inverse_nn: C⁻¹, 0 in the rows and columns of unknown ones.
        noise: variance of a row of typical noise.
    """

    share_kn: Floats
    weight_n: Floats
    inverse_nn: Floats
    noise: float


@dataclass(frozen=True)
class LogTimes:
    """Log seconds with their standard deviation, and the factors behind them (means that are not data: exp(-f))."""

    log_seconds_g: Floats
    sd_g: Floats
    factor_kg: Floats


def fit(problem: Problem) -> Fit:
    """The most likely factors.  Raises `ValueError` without a known row."""
    p, known = problem, np.flatnonzero(problem.known_n)
    if not known.size:
        raise ValueError("no row is known")
    factor_kn, run_n = np.zeros_like(p.work_kn), np.zeros(p.noise_n.size)
    block, terms = np.ix_(known, known), np.arange(len(p.work_kn))
    for _ in range(MOST_ITERATIONS):
        log_sum_n, share_kn = _sum_of_terms(p, factor_kn, slice(None))
        s_kn = share_kn[:, known]
        c_nn = np.einsum("ki,kij,kj->ij", s_kn, p.prior_knn[np.ix_(terms, known, known)], s_kn)
        c_nn += p.run_nn[block] + np.diag(p.noise_n[known])
        inverse_nn = np.linalg.inv(c_nn)
        linear_n = p.log_seconds_n[known] - log_sum_n[known] + (s_kn * factor_kn[:, known]).sum(0)
        weight_n = np.zeros_like(run_n)
        weight_n[known] = inverse_nn @ linear_n
        change_kn = np.einsum("kij,kj->ki", p.prior_knn, share_kn * weight_n) - factor_kn
        run_n = p.run_nn @ weight_n
        largest = np.abs(change_kn).max()
        factor_kn += change_kn * min(1.0, LARGEST_STEP / max(largest, 1e-12))
        if largest < CONVERGED:
            break
    whole_nn = np.zeros_like(p.run_nn)
    whole_nn[block] = inverse_nn
    return Fit(share_kn, weight_n, whole_nn, float(np.median(p.noise_n[known])))


def predict(problem: Problem, fitted: Fit, targets: Sequence[int], without: Sequence[int] = ()) -> LogTimes:
    """`targets` from all known rows but `without`; noise and run of the target itself are in the deviation."""
    p, g, out = problem, np.asarray(targets), np.asarray([i for i in without if problem.known_n[i]], int)
    weight_n, inverse_nn = fitted.weight_n, fitted.inverse_nn
    drop_no = np.zeros((weight_n.size, 0))
    if out.size:
        drop_no = inverse_nn[:, out] @ np.linalg.inv(inverse_nn[np.ix_(out, out)])
        weight_n = weight_n - drop_no @ weight_n[out]
        weight_n[out] = 0.0
    factor_kg = np.einsum("kgj,kj->kg", p.prior_knn[:, g], fitted.share_kn * weight_n)
    log_sum_g, share_kg = _sum_of_terms(p, factor_kg, g)
    cross_gn = np.einsum("kg,kgj,kj->gj", share_kg, p.prior_knn[:, g], fitted.share_kn) + p.run_nn[g]
    cross_gn[:, out] = 0.0
    own_g = np.einsum("kg,kg->g", share_kg**2, p.prior_knn[:, g, g]) + p.run_nn[g, g]
    explained_gn = cross_gn @ inverse_nn - (cross_gn @ drop_no) @ inverse_nn[out]
    variance_g = own_g - np.einsum("gj,gj->g", explained_gn, cross_gn)
    return LogTimes(
        log_sum_g + p.run_nn[g] @ weight_n,
        np.sqrt(np.maximum(variance_g, 0.0) + fitted.noise),
        factor_kg + p.mean_k[:, None],
    )


def _sum_of_terms(p: Problem, factor_kg: Floats, which: slice | NDArray[np.int64]) -> tuple[Floats, Floats]:
    """log Σ_k work · exp(mean + factor), and the share of each term."""
    terms_kg = p.work_kn[:, which] * np.exp(p.mean_k[:, None] + factor_kg)
    total_g = terms_kg.sum(0)
    return np.log(total_g), terms_kg / total_g
