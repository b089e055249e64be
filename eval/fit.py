"""The measured crossover: the length at which attention takes as long as all linear layers, with its uncertainty.

    linear(N)    = a·N
    attention(N) = alpha·(N - offset) + beta·N²      for N >= the longest bounded span; a sum over the variants
    N*           : attention(N*) = linear(N*), which is (a - alpha)/beta where offset = 0

A query sees all W keys of a window only from the W-th on, so a window's exact pair count is W·(N - (W - 1)/2).
That offset is known from the pattern, not fitted.  Left out, the missing triangle looks like curvature: a pure
window would be given a crossover that it does not have, and `5*swa(1024)+full` one a third too early.
Variants are fitted apart, because alpha and beta are well determined in each and badly in their sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from attention.cost import Heads
from attention.layout import parse_variant
from attention.pattern import UNBOUNDED, SpanPattern, visible_pairs
from attention.variant import Variant
from eval.summary import FULL, Summary

Samples = Mapping[int, Sequence[float]]
"""All samples in ms, per length in tokens."""

LEAST_LENGTHS = 3
"""Two terms and one length left over to judge the fit by."""

LEAST_QUADRATIC_SHARE = 0.01
"""A beta·N² below this share of attention's time at the longest length is not told from a fault of the model."""

CLEARLY = 1.1
"""From this ratio of two medians on, one is said to be the longer time."""

MOST_MISFIT = 1.0
"""Relative.  A curve that is farther off describes nothing, and its draws would overflow."""


@dataclass(frozen=True)
class Crossover:
    """The answer for one layout.  `tokens` is None where there is none, and `reason` says why.

    Attributes:
        tokens, low, high: median and 90 % interval of N* over the bootstrap.
        lengths: those at which the fit of every variant holds.
        linear_ms, alpha_ms, beta_ms: a and alpha per token, beta per token², of the fit to the medians.
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
    alpha_ms: float | None = None
    beta_ms: float | None = None
    offset: float = 0.0
    contradicted_at: tuple[int, ...] = ()

    @property
    def extrapolated(self) -> bool:
        """Whether N* lies outside the lengths that were measured."""
        return self.tokens is not None and not self.lengths[0] <= self.tokens <= self.lengths[-1]

    def attention_at(self, tokens: float) -> float:
        """The fitted attention(N) in ms."""
        return self.alpha_ms * (tokens - self.offset) + self.beta_ms * tokens**2


@dataclass(frozen=True)
class Kernel:
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


def measured_crossover(summary: Summary, layout: str, draws: int = 2000, seed: int = 0) -> Crossover:
    """The crossover of one layout of a summary, from its linear part and its variants' kernels."""
    kernels = [
        Kernel(
            n_layers, summary.samples_ms("attention", name), *bounded_keys(parse_variant(name), summary.config.heads)
        )
        for name, n_layers in summary.variants(layout).items()
    ]
    return fit_crossover(summary.samples_ms("linear", FULL), kernels, draws, seed)


def fit_crossover(linear: Samples, kernels: Sequence[Kernel], draws: int = 2000, seed: int = 0) -> Crossover:
    """Fits each part by least squares on relative errors, alpha and beta not negative; bootstrap over the samples.

    Each draw also shakes every length by the misfit that the curve leaves, so that the interval covers what the
    formula does not describe.
    """
    span = max(kernel.span for kernel in kernels)
    for what, count in (("the linear layers", len(linear)), ("attention", min(len(k.lengths) for k in kernels))):
        if count < LEAST_LENGTHS:
            wanted = f" of {span:,} tokens or more" if what == "attention" and span > 1 else ""
            return Crossover(reason=f"needs {what} at {LEAST_LENGTHS} lengths{wanted}, has {count}")
    rng = np.random.default_rng(seed)
    n = np.array(sorted(linear), float)
    a = _fit(n[None], [linear[tokens] for tokens in sorted(linear)], draws, rng)[:, 0]
    alpha, beta, shift = np.zeros((3, 1 + draws))
    for kernel in kernels:
        n = np.array(kernel.lengths, float)
        terms = np.stack([n - kernel.offset, n**2])
        one_alpha, one_beta = kernel.n_layers * _fit(terms, [kernel.samples[t] for t in kernel.lengths], draws, rng).T
        alpha, beta, shift = alpha + one_alpha, beta + one_beta, shift + one_alpha * kernel.offset
    lengths = tuple(sorted(set.intersection(*(set(kernel.lengths) for kernel in kernels))))
    offset = float(shift[0] / alpha[0]) if alpha[0] else 0.0
    fit = Crossover(None, None, None, "", lengths, float(a[0]), float(alpha[0]), float(beta[0]), offset)
    over_linear = {
        tokens: float(sum(k.n_layers * np.median(k.samples[tokens]) for k in kernels) / np.median(linear[tokens]))
        for tokens in lengths
        if tokens in linear
    }
    return _unless_contradicted(*_answer(fit, span, np.stack([a, alpha, beta, shift])[:, 1:]), over_linear)


FAR_TOKENS: Final = 2**20
"""Past every window and budget that anybody measures."""


def bounded_keys(variant: Variant, heads: Heads) -> tuple[int, float]:
    """(span, offset) of a `Kernel` with this variant; (1, 0) where it has no bound.

    What is bounded but no window (an eviction, routes that all are) follows limit·N - missing from about 2·offset on.
    """
    limit = variant.limiting_flops(heads)
    if variant.has_only_a_pattern:
        return _bounded_heads(variant.pattern())
    if limit is None:
        return 1, 0.0
    offset = FAR_TOKENS - variant.useful(heads, FAR_TOKENS).flops(heads) / limit
    return max(1, math.ceil(2 * offset)), float(offset)


def _bounded_heads(pattern: SpanPattern) -> tuple[int, float]:
    heads = [
        SpanPattern((span,), (sink,))
        for span, sink in pattern.per_head(max(len(pattern.span), len(pattern.sink)))
        if span + sink < UNBOUNDED
    ]
    limits = [head.span[0] + head.sink[0] for head in heads]
    missing = [limit**2 - visible_pairs(head, 1, limit) for head, limit in zip(heads, limits, strict=True)]
    return max(limits, default=1), sum(missing) / max(sum(limits), 1)


def _fit(terms: np.ndarray, samples: Sequence[Sequence[float]], draws: int, rng: np.random.Generator) -> np.ndarray:
    """Coefficients [1 + draws, terms]: of the medians, then of each draw; `terms` [terms, lengths]."""
    medians = np.array([np.median(one) for one in samples])
    point = _least_squares(terms, medians[None])
    left_over = terms.shape[1] - len(terms)
    misfit = min(np.sqrt(np.sum((medians / (point @ terms) - 1) ** 2) / left_over), MOST_MISFIT)
    resampled = [np.median(rng.choice(one, (draws, len(one))), axis=1) for one in samples]
    times = np.stack(resampled, axis=1)
    return np.concatenate([point, _least_squares(terms, times * np.exp(misfit * rng.standard_normal(times.shape)))])


def _least_squares(terms: np.ndarray, times: np.ndarray) -> np.ndarray:
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


def _answer(fit: Crossover, span: int, drawn: np.ndarray) -> tuple[Crossover, tuple[float, float]]:
    """`fit` with the crossover of the draws, or with the reason why there is none; and between which lengths it lies.

    `drawn` [4, draws] holds a, alpha, beta and alpha·offset.
    """
    a, alpha, beta, shift = drawn
    longest = fit.lengths[-1]
    curved_share = beta * longest**2 / (alpha * longest - shift + beta * longest**2)
    if np.median(a - alpha) > 0 and np.quantile(curved_share, 0.05) < LEAST_QUADRATIC_SHARE:
        limit = fit.alpha_ms / (fit.alpha_ms + fit.linear_ms)
        reason = f"attention grows no faster than N within the uncertainty; its share tends to {100 * limit:.0f} %"
        return replace(fit, reason=reason), (math.inf, math.inf)
    half = (a - alpha) / 2
    root = np.sqrt(half**2 + beta * shift)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw without curvature may cross nowhere: infinity
        crossing = np.where(half > 0, (half + root) / beta, shift / (root - half))  # neither cancels
    low, middle, high = np.quantile(crossing, (0.05, 0.5, 0.95), method="nearest")  # infinities do not interpolate
    if middle < span:
        where = f"from {span:,} tokens on, where the formula begins" if span > 1 else "at every length"
        return replace(fit, reason=f"attention costs more than the linear layers {where}"), (0.0, 0.0)
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
