"""The measured crossover: the length at which attention takes as long as all linear layers, with its uncertainty.

    linear(N)    = a·N + c
    attention(N) = alpha·(N - offset) + beta·N²      for N >= the longest bounded span; a sum over the variants
    N*           : attention(N*) = linear(N*), which is (a - alpha)/beta where offset = c = 0

c is what does not grow with the prompt, such as reading the weights, which paces a short prompt on a GPU.  The offset
is known from the pattern (`eval.cost.bounded_keys`), not fitted.  Left out, the missing triangle looks like curvature:
a pure window would be given a crossover that it does not have, and `5*swa(1024)+full` one a third too early.  Variants
are fitted apart, because alpha and beta are well determined in each and badly in their sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from eval.cost.bounded_keys import bounded_keys
from eval.measure.named_layout import NamedLayout
from eval.report.least_squares import Curve
from eval.report.linear_times import CLEARLY, Samples, linear_samples
from eval.report.summary import Summary

Tokens = TypeVar("Tokens", float, np.ndarray)

LEAST_LENGTHS = 3
"""Two terms and one length left over to judge the fit by."""

LEAST_QUADRATIC_SHARE = 0.01
"""A beta·N² below this share of attention's time at the longest length is not told from a fault of the model."""

MOST_MISFIT = 0.25
"""A `Curve.misfit` beyond this says that the times are of another form: where such curves cross is no news of them."""


@dataclass(frozen=True)
class Crossover:
    """The answer for one layout.  `tokens` is None where there is none, and `reason` says why.

    Attributes:
        tokens, low, high: median and 90 % interval of N* over the bootstrap.
        lengths: those at which the linear layers were timed and the fit of every variant holds.
        linear_ms, fixed_ms, alpha_ms, beta_ms: a and alpha per token, c, beta per token², of the fit to the medians;
            None where there is no fit.
        offset: tokens, see the module.
        contradicted_at: measured lengths at which the medians clearly say otherwise than the fit which of the two
            costs more, outside its interval; there is no `tokens` then.
    """

    tokens: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    lengths: tuple[int, ...] = ()
    linear_ms: float | None = None
    fixed_ms: float | None = None
    alpha_ms: float | None = None
    beta_ms: float | None = None
    offset: float = 0.0
    contradicted_at: tuple[int, ...] = ()

    @property
    def extrapolated(self) -> bool:
        """Whether N* lies outside the lengths that were measured."""
        return self.tokens is not None and not self.lengths[0] <= self.tokens <= self.lengths[-1]

    @property
    def coefficients(self) -> tuple[float, float, float, float]:
        """a, c, alpha, beta, of a layout that has a fit."""
        assert self.linear_ms is not None and self.fixed_ms is not None
        assert self.alpha_ms is not None and self.beta_ms is not None
        return self.linear_ms, self.fixed_ms, self.alpha_ms, self.beta_ms

    @property
    def interval(self) -> tuple[float, float]:
        """90 % of the draws, of a layout that has a crossover."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    def linear_at(self, tokens: Tokens) -> Tokens:
        """The fitted linear(N) in ms."""
        a, c, _, _ = self.coefficients
        return a * tokens + c

    def attention_at(self, tokens: Tokens) -> Tokens:
        """The fitted attention(N) in ms."""
        _, _, alpha, beta = self.coefficients
        return alpha * (tokens - self.offset) + beta * tokens**2


@dataclass(frozen=True)
class VariantTimes:
    """One variant of a layout: how many layers have it, one layer's samples, and what its pattern says.

    From `span` tokens on its bounded heads see limit·N - missing pairs; offset = missing / limit, in tokens.
    """

    n_layers: int
    samples: Samples
    span: int = 1
    offset: float = 0.0

    @property
    def lengths(self) -> list[int]:
        """Those that the formula describes."""
        return sorted(tokens for tokens in self.samples if tokens >= self.span)

    @property
    def curve(self) -> Curve:
        """One layer's times, of the terms alpha and beta."""
        n = np.array(self.lengths, float)
        return Curve(np.stack([n - self.offset, n**2]), [self.samples[tokens] for tokens in self.lengths])


def _linear_curve(linear: Samples) -> Curve:
    lengths = sorted(linear)
    n = np.array(lengths, float)
    return Curve(np.stack([n, np.ones_like(n)]), [linear[tokens] for tokens in lengths])


def linear_misfit(linear: Samples) -> float | None:
    """How far the linear layers' times are off a·N + c (`Curve.misfit`); None of fewer than three lengths."""
    return _linear_curve(linear).misfit if len(linear) >= LEAST_LENGTHS else None


def measured_crossover(summary: Summary, layout: NamedLayout, draws: int = 2000, seed: int = 0) -> Crossover:
    """The crossover of one layout of a summary, from its linear part and its variants' kernels."""
    kernels = [
        VariantTimes(
            n_layers, summary.samples_ms("attention", str(variant)), *bounded_keys(variant, summary.config.heads)
        )
        for variant, n_layers in layout.counts.items()
    ]
    return fit_crossover(linear_samples(summary), kernels, draws, seed)


def fit_crossover(linear: Samples, kernels: Sequence[VariantTimes], draws: int = 2000, seed: int = 0) -> Crossover:
    """Fits each part by least squares on relative errors, alpha and beta not negative; bootstrap over the samples.

    Each draw also shakes every length by the misfit that the curve leaves, so that the interval covers what the
    formula does not describe.  Beyond `MOST_MISFIT` the formula is not that of these times: there is no fit.
    """
    span = max(kernel.span for kernel in kernels)
    for what, count in (("the linear layers", len(linear)), ("attention", min(len(k.lengths) for k in kernels))):
        if count < LEAST_LENGTHS:
            wanted = f" of {span:,} tokens or more" if what == "attention" and span > 1 else ""
            return Crossover(reason=f"needs {what} at {LEAST_LENGTHS} lengths{wanted}, has {count}")
    lengths = tuple(sorted(set(linear).intersection(*(kernel.lengths for kernel in kernels))))
    if not lengths:
        return Crossover(reason="the linear layers and attention were timed at no length in common")
    linear_curve, curves = _linear_curve(linear), [kernel.curve for kernel in kernels]
    for what, formula, misfit in (
        ("the linear layers", "a·N + c", linear_curve.misfit),
        ("attention", "alpha·(N - offset) + beta·N²", max(curve.misfit for curve in curves)),
    ):
        if misfit > MOST_MISFIT:
            return Crossover(reason=f"no fit: the times of {what} are {100 * misfit:,.0f} % off {formula}")
    rng = np.random.default_rng(seed)
    a, c = linear_curve.coefficients(draws, rng).T
    alpha, beta, shift = np.zeros((3, 1 + draws))
    for kernel, curve in zip(kernels, curves, strict=True):
        one_alpha, one_beta = kernel.n_layers * curve.coefficients(draws, rng).T
        alpha, beta, shift = alpha + one_alpha, beta + one_beta, shift + one_alpha * kernel.offset
    offset = float(shift[0] / alpha[0]) if alpha[0] else 0.0
    linear_ms, fixed_ms, alpha_ms, beta_ms = (float(drawn[0]) for drawn in (a, c, alpha, beta))
    fit = Crossover(
        lengths=lengths, offset=offset, linear_ms=linear_ms, fixed_ms=fixed_ms, alpha_ms=alpha_ms, beta_ms=beta_ms
    )
    over_linear = {
        tokens: float(sum(k.n_layers * np.median(k.samples[tokens]) for k in kernels) / np.median(linear[tokens]))
        for tokens in lengths
    }
    return _unless_contradicted(*_answer(fit, np.stack([a, c, alpha, beta, shift])[:, 1:]), over_linear)


def _answer(fit: Crossover, drawn: np.ndarray) -> tuple[Crossover, tuple[float, float]]:
    """`fit` with the crossover of the draws, or with the reason why there is none; and between which lengths it lies.

    `drawn` [5, draws] holds a, c, alpha, beta and alpha·offset.
    """
    a, c, alpha, beta, shift = drawn
    longest = fit.lengths[-1]
    curved_share = beta * longest**2 / (alpha * longest - shift + beta * longest**2)
    if np.median(a - alpha) > 0 and np.quantile(curved_share, 0.05) < LEAST_QUADRATIC_SHARE:
        linear_ms, _, alpha_ms, _ = fit.coefficients
        limit = alpha_ms / (alpha_ms + linear_ms)
        reason = f"attention grows no faster than N within the uncertainty; its share tends to {100 * limit:.0f} %"
        return replace(fit, reason=reason), (math.inf, math.inf)
    half = (a - alpha) / 2
    behind = shift + c  # beta·N² - 2·half·N - behind = 0
    under = half**2 + beta * behind
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw without curvature may cross nowhere: infinity
        root = np.sqrt(under)
        crossing = np.where(half > 0, (half + root) / beta, behind / (root - half))  # neither cancels
    always_dearer = (under < 0) | ((half <= 0) & (behind <= 0))
    crossing = np.where(always_dearer, 0.0, crossing)
    low, middle, high = np.quantile(crossing, (0.05, 0.5, 0.95), method="nearest")  # infinities do not interpolate
    if middle < fit.lengths[0]:
        reason = f"attention costs more than the linear layers at every length from {fit.lengths[0]:,} tokens on"
        return replace(fit, reason=reason), (0.0, 0.0)
    return replace(fit, tokens=float(middle), low=float(low), high=float(high)), (float(low), float(high))


def _unless_contradicted(fit: Crossover, crossing: tuple[float, float], over_linear: Mapping[int, float]) -> Crossover:
    """`fit`, or that the measured times clearly do not bear it out.

    It claims that attention is cheaper than the linear layers before `crossing` and dearer behind it; `over_linear` is
    the ratio of the two medians at each measured length.
    """
    low, high = crossing
    against = [
        n for n, ratio in over_linear.items() if (n < low and ratio > CLEARLY) or (n > high and ratio * CLEARLY < 1)
    ]
    if not against:
        return fit
    where = ", ".join(f"{tokens:,}" for tokens in against)
    reason = f"the times at {where} tokens contradict the fit: noise, a disturbed machine, or times of another form"
    return replace(fit, tokens=None, low=None, high=None, reason=reason, contradicted_at=tuple(against))
