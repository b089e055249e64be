"""The measured crossover: synthetic times with known coefficients come back, and so does "none"."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from scipy.optimize import nnls

from attention.cost import Heads
from attention.pattern import UNBOUNDED
from attention.sliding_window import SlidingWindow
from eval.cost.bounded_keys import bounded_keys
from eval.measure.records.decode import from_json
from eval.report.crossover_fit import MOST_MISFIT, Crossover, VariantTimes, fit_crossover
from eval.report.linear_times import foreign_lengths, linear_samples
from eval.report.summary import Summary
from eval.report.tables import crossover_table
from refmodel.presets import preset
from tests.eval.report.synthetic_records import record

LENGTHS = (512, 1024, 2048, 4096, 8192)
A, ALPHA, BETA = 0.2, 0.05, 3e-5
TRUTH = (A - ALPHA) / BETA  # 5,000 tokens

HEADS = Heads(9, 3, 64)


def noisy(time_ms, rng=None, noise=0.0, samples=4, lengths=LENGTHS):
    """`samples` of time_ms(N) at each length, with relative noise."""
    rng = rng or np.random.default_rng(0)
    return {n: list(time_ms(n) * (1 + noise * rng.standard_normal(samples))) for n in lengths}


def curve(n):
    return ALPHA * n + BETA * n**2


def test_exact_data_give_the_exact_crossover():
    found = fit_crossover(noisy(lambda n: A * n), [VariantTimes(3, noisy(lambda n: curve(n) / 3))])
    np.testing.assert_allclose((found.linear_ms, found.alpha_ms, found.beta_ms), (A, ALPHA, BETA), rtol=1e-9)
    np.testing.assert_allclose((found.low, found.tokens, found.high), TRUTH, rtol=1e-9)
    assert found.lengths == LENGTHS
    assert not found.extrapolated
    np.testing.assert_allclose(found.attention_at(TRUTH), A * TRUTH, rtol=1e-9)
    assert found.fixed_ms == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("beta", [BETA, 0.0])
@pytest.mark.parametrize("alpha", [ALPHA, 1.5 * A])
def test_what_does_not_grow_with_the_prompt_moves_the_crossover(alpha, beta):
    """a·N + c against alpha·N + beta·N²: with c, attention that is dearer per token is still cheaper at first."""
    fixed = 300.0
    linear, kernel = noisy(lambda n: A * n + fixed), VariantTimes(1, noisy(lambda n: alpha * n + beta * n**2))
    found = fit_crossover(linear, [kernel])
    roots = np.roots([beta, alpha - A, -fixed]) if beta else np.array([fixed / (alpha - A)])
    if not beta and alpha < A:
        assert found.tokens is None and "no faster than N" in found.reason
        return
    np.testing.assert_allclose((found.linear_ms, found.fixed_ms), (A, fixed), rtol=1e-9)
    np.testing.assert_allclose((found.low, found.tokens, found.high), roots[roots > 0][0], rtol=1e-6)
    assert found.attention_at(found.tokens) == pytest.approx(found.linear_at(found.tokens))


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_interval_covers_the_truth_as_often_as_it_says(noise):
    rng, hits, widths = np.random.default_rng(1), 0, []
    for seed in range(150):
        linear = noisy(lambda n: A * n, rng, noise)
        kernels = [VariantTimes(k, noisy(lambda n: curve(n) / 6, rng, noise)) for k in (2, 4)]
        found = fit_crossover(linear, kernels, draws=200, seed=seed)
        hits += found.low <= TRUTH <= found.high
        widths.append((found.high - found.low) / TRUTH)
    assert 0.86 <= hits / 150 <= 0.99
    assert np.median(widths) < 6 * noise


def test_interval_covers_a_misfit_that_the_samples_do_not_show():
    """Samples that agree with each other, but stand 5 % off the formula, up and down."""
    wave = {n: 1 + 0.05 * (-1) ** place for place, n in enumerate(LENGTHS)}
    found = fit_crossover(noisy(lambda n: A * n), [VariantTimes(1, noisy(lambda n: wave[n] * curve(n)))])
    assert found.low < 0.96 * found.tokens < 1.04 * found.tokens < found.high
    assert found.low < TRUTH < found.high


def test_same_seed_same_answer():
    data = noisy(lambda n: A * n, noise=0.1), [VariantTimes(1, noisy(curve, noise=0.1))]
    assert fit_crossover(*data, seed=3) == fit_crossover(*data, seed=3) != fit_crossover(*data, seed=4)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_pure_window_has_none(noise):
    """With the window's missing triangle in the data, which looks like curvature."""
    window = 512
    samples = noisy(lambda n: 1e-4 * (window * n - window * (window - 1) / 2), noise=noise)
    kernel = VariantTimes(1, samples, *bounded_keys(SlidingWindow(window), HEADS))
    found = fit_crossover(noisy(lambda n: A * n, noise=noise), [kernel])
    assert found.tokens is None
    assert "no faster than N" in found.reason
    percent = int(re.search(r"tends to (\d+) %", found.reason)[1])
    assert abs(percent - 100 * 0.0512 / (0.0512 + A)) <= 0.5 + 40 * noise


@pytest.mark.parametrize("windows", [0, 1, 5])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_mixture_crosses_where_its_pairs_do(windows, noise):
    """`windows` layers of 1,024 and one full layer, timed as their pairs, counted one query at a time."""
    rng, every = np.random.default_rng(2), np.arange(1, 100_001)
    pairs = {window: np.minimum(every, window).cumsum() for window in (1024, UNBOUNDED)}
    truth = every[np.argmax(windows * pairs[1024] + pairs[UNBOUNDED] > 15_000 * every)]
    kernels = [
        VariantTimes(
            n_layers,
            noisy(lambda n, w=window: pairs[w][n - 1], rng, noise),
            *bounded_keys(SlidingWindow(window), HEADS),
        )
        for window, n_layers in ((1024, windows), (UNBOUNDED, 1))
        if n_layers
    ]
    found = fit_crossover(noisy(lambda n: 15_000 * n, rng, noise), kernels)
    assert found.tokens == pytest.approx(truth, rel=1e-3 + 2 * noise)
    assert found.low <= truth + 1 <= found.high + 2
    assert found.extrapolated
    assert found.lengths == (LENGTHS[1:] if windows else LENGTHS)


def test_a_wide_window_crosses_without_curvature():
    """W·(N - (W - 1)/2) pairs against 400·N: equal at N = W·(W - 1)/2 / (W - 400)."""
    window = 512
    kernel = VariantTimes(
        1, noisy(lambda n: window * n - window * (window - 1) / 2), *bounded_keys(SlidingWindow(window), HEADS)
    )
    found = fit_crossover(noisy(lambda n: 400 * n), [kernel])
    assert found.tokens == pytest.approx(window * (window - 1) / 2 / (window - 400))
    dearer = fit_crossover(noisy(lambda n: 200 * n), [kernel])
    assert dearer.tokens is None
    assert "from 512 tokens on" in dearer.reason


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_attention_dearer_from_the_start_has_none(noise):
    """Whatever noise makes of what does not grow with the prompt: c > 0 crosses somewhere below the first length."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        linear, dear = (noisy(time, rng, noise) for time in (lambda n: A * n, lambda n: 1.5 * A * n + BETA / 30 * n**2))
        found = fit_crossover(linear, [VariantTimes(1, dear)], draws=200)
        assert (found.tokens, found.low, found.high) == (None, None, None)
        assert "at every length from 512 tokens on" in found.reason


def test_attention_with_a_head_start_is_dearer_at_every_length():
    """A negative offset: no N at which the two are equal."""
    above = noisy(lambda n: ALPHA * (n + 9000) + 1e-4 * n**2)
    found = fit_crossover(noisy(lambda n: A * n), [VariantTimes(1, above, offset=-9000.0)])
    assert found.tokens is None and "at every length from 512 tokens on" in found.reason


def test_a_crossover_behind_the_linear_layers_lengths_is_extrapolated():
    found = fit_crossover(noisy(lambda n: A * n, lengths=(512, 1024, 2048)), [VariantTimes(1, noisy(curve))])
    assert found.tokens == pytest.approx(TRUTH) and found.lengths == (512, 1024, 2048) and found.extrapolated


def test_a_fit_that_the_times_contradict_is_no_answer():
    """One length at which attention is measured on the other side of the linear layers than the fit has it."""
    linear = noisy(lambda n: A * n)
    dear = {n: [1.2 * ms for ms in times] for n, times in linear.items()}
    assert "at every length" in fit_crossover(linear, [VariantTimes(1, dear)]).reason
    found = fit_crossover(linear, [VariantTimes(1, dear | {2048: [0.85 * ms for ms in linear[2048]]})])
    assert (found.tokens, found.low, found.high) == (None, None, None) and found.linear_ms
    assert found.contradicted_at and "tokens contradict the fit" in found.reason
    assert all(f"{tokens:,}" in found.reason for tokens in found.contradicted_at)
    assert not fit_crossover(linear, [VariantTimes(1, noisy(curve, noise=0.02))]).contradicted_at


def off_a_line(linear) -> float:
    """How far the first samples are off the a·N + c that is nearest to them, a and c not negative."""
    times, terms = np.array([ms[0] for ms in linear.values()]), np.array([LENGTHS, [1] * len(LENGTHS)])
    line = nnls((terms / times).T, np.ones(len(times)))[0] @ terms
    return float(np.sqrt(((times / line - 1) ** 2).sum() / (len(times) - 2)))


@pytest.mark.parametrize("power", [1.7, 2.0, 3.0])
@pytest.mark.parametrize("samples", [1, 7])
def test_linear_times_of_another_form_give_no_crossover_and_no_interval(power, samples):
    """However well the samples of each length agree."""
    linear = noisy(lambda n: n**power, samples=samples)
    found = fit_crossover(linear, [VariantTimes(1, noisy(curve))])
    off = off_a_line(linear)
    assert off > MOST_MISFIT
    assert found == Crossover(reason=f"no fit: the times of the linear layers are {100 * off:,.0f} % off a·N + c")


def test_attention_of_another_form_gives_none_either_whichever_kernel_it_is():
    linear, good = noisy(lambda n: A * n), VariantTimes(2, noisy(curve))
    for bad in (
        noisy(lambda n: 1e-9 * n**3.5),
        noisy(lambda n: 40.0 + 0 * n),  # the time that a program takes to start
        noisy(curve) | {512: [40 * A * 512] * 4},
    ):
        for kernels in ([VariantTimes(1, bad)], [good, VariantTimes(1, bad)], [VariantTimes(1, bad), good]):
            found = fit_crossover(linear, kernels)
            assert found.tokens is found.low is found.high is found.linear_ms is found.alpha_ms is None
            assert found.reason.startswith("no fit: the times of attention are ") and not found.extrapolated
    assert fit_crossover(linear, [good]).tokens


@pytest.mark.parametrize("wave", [0.0, 0.1, 0.15, 0.25, 0.5])
def test_the_misfit_decides(wave):
    """Times that stand alternately above and below a·N."""
    swing = {n: wave * (-1) ** place for place, n in enumerate(LENGTHS)}
    linear = noisy(lambda n: A * n * (1 + swing[n]))
    found = fit_crossover(linear, [VariantTimes(1, noisy(curve))])
    fits = off_a_line(linear) <= MOST_MISFIT
    assert (found.tokens is not None) == fits == (not found.reason.startswith("no fit")), found
    assert fits == (wave < 0.2)


def test_lengths_at_which_the_linear_layers_are_not_part_of_the_whole_are_left_out():
    experts = preset("tiny-moe")
    whole = {512: 1.11, 1024: 1.0, 2048: 0.5}  # of the linear layers alone, which `CLEARLY` lets be a tenth longer
    linear = {n: A * n for n in LENGTHS}
    cells = [("linear", n, ms) for n, ms in linear.items()] + [("prefill", n, linear[n] * x) for n, x in whole.items()]
    records = [from_json(record(kind, "full", n, timing={"samples_ms": [ms, ms]})) for kind, n, ms in cells]
    summary = Summary(experts, "gpu", "bfloat16", "mosaic", (), tuple(records))
    assert foreign_lengths(summary) == (2048,)
    assert set(linear_samples(summary)) == set(LENGTHS) - {2048}
    assert "Left out: 2,048 tokens, where the linear layers alone" in crossover_table(summary, {}, {}).note
    dense = dataclasses.replace(summary, config=preset("tiny-dense"))
    assert foreign_lengths(dense) == () and "Left out" not in crossover_table(dense, {}, {}).note


def test_no_length_in_common_says_so():
    early, late = noisy(lambda n: A * n, lengths=(64, 128, 256)), noisy(curve)
    assert fit_crossover(early, [VariantTimes(1, late)]).reason.endswith("timed at no length in common")


def test_too_few_lengths_say_so():
    full, short = noisy(curve), noisy(curve, lengths=(512, 1024))
    assert (
        "needs attention at 3 lengths, has 2"
        in fit_crossover(full, [VariantTimes(1, full), VariantTimes(1, short)]).reason
    )
    assert "needs the linear layers at 3 lengths, has 2" in fit_crossover(short, [VariantTimes(1, full)]).reason
    assert "of 4,000 tokens or more, has 2" in fit_crossover(full, [VariantTimes(1, full, span=4000)]).reason
    assert "has 0" in fit_crossover(full, [VariantTimes(1, full), VariantTimes(1, {})]).reason
