"""The crossover of drawn records against a plain fit: scipy's, draw by draw, its own root and its own quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, nnls

from attention.layout import parse_layout
from eval.cost.crossover import crossover_tokens, limiting_share
from eval.report.crossover_fit import VariantTimes, fit_crossover, measured_crossover
from eval.report.number_format import fitted
from eval.report.report_files import write_report
from eval.report.run_facts import crossovers
from tests.eval.report.drawn_records import FULL, LAYOUTS, LENGTHS, MIXED, WINDOW, drawn_records
from tests.eval.report.synthetic_records import CONFIG, compared, summaries

RECORDS = drawn_records()
[SUMMARY] = summaries(RECORDS)
OFFSET = {FULL: 0.0, WINDOW: 1023 / 2}
"""Of W·N - W·(W - 1)/2 visible pairs."""
FITTED = {MIXED: LENGTHS[1:], FULL: LENGTHS}


def samples(kind: str, name: str, lengths) -> dict[int, list[float]]:
    return {r["tokens"]: r["timing"]["samples_ms"] for r in RECORDS
            if (r["kind"], r["layout"]) == (kind, name) and r["tokens"] in lengths}  # fmt: skip


def relative_fit(ms: np.ndarray, *terms: np.ndarray) -> np.ndarray:
    return nnls(np.stack(terms, 1) / ms[:, None], np.ones(len(ms)))[0]


def fits(times: dict[int, list[float]], offset: float | None, rng, draws: int) -> np.ndarray:
    """Of the medians, then of each draw: samples taken again, each length shaken by the misfit of the curve."""
    n = np.array(list(times), float)
    terms = (n, np.ones_like(n)) if offset is None else (n - offset, n**2)
    medians = np.array([np.median(one) for one in times.values()])
    found = [relative_fit(medians, *terms)]
    misfit = np.sqrt(((medians / (found[0] @ np.stack(terms)) - 1) ** 2).sum() / (len(n) - 2))
    for _ in range(draws):
        again = np.array([np.median(rng.choice(one, len(one))) for one in times.values()])
        found.append(relative_fit(again * np.exp(misfit * rng.standard_normal(len(n))), *terms))
    return np.array(found)


def plain_crossover(layout: str, draws: int = 1000):
    """attention - linear by draw and length, a, c, alpha, beta of the medians, crossovers of the draws."""
    rng = np.random.default_rng(99)
    lines = fits(samples("linear", FULL, LENGTHS), None, rng, draws)
    names = [str(variant) for variant in parse_layout(layout, CONFIG.n_layers)]
    parts = {}
    for name in dict.fromkeys(names):
        lengths = [n for n in LENGTHS if name == FULL or n >= 1024]
        parts[name] = fits(samples("attention", name, lengths), OFFSET[name], rng, draws)

    def gap(i: int, n: float) -> float:
        attention = sum(names.count(name) * (fit[i, 0] * (n - OFFSET[name]) + fit[i, 1] * n**2)
                        for name, fit in parts.items())  # fmt: skip
        return attention - (lines[i, 0] * n + lines[i, 1])

    summed = sum(names.count(name) * fit[0] for name, fit in parts.items())
    return gap, (*lines[0], *summed), [brentq(lambda n, i=i: gap(i, n), 10, 1e7) for i in range(1, draws + 1)]


@pytest.mark.parametrize("layout", [FULL, MIXED])
def test_crossover_and_interval_are_those_of_the_plain_fit(layout):
    found = measured_crossover(SUMMARY, next(one for one in SUMMARY.layouts if one.name == layout))
    gap, coefficients, crossings = plain_crossover(layout)
    for n in (*LENGTHS, 99_991):
        assert found.attention_at(n) - found.linear_at(n) == pytest.approx(gap(0, n))
    np.testing.assert_allclose(found.coefficients, coefficients, rtol=1e-6)
    low, middle, high = np.quantile(crossings, (0.05, 0.5, 0.95))
    assert found.lengths == FITTED[layout]
    assert found.tokens == pytest.approx(middle, rel=0.1 * (high - low) / middle)
    assert found.high - found.low == pytest.approx(high - low, rel=0.12)
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.1 * (high - low) / middle)


def test_the_offset_moves_with_each_draw():
    """Two windows of which one's slope is uncertain: what its missing keys cost is as uncertain."""
    rng = np.random.default_rng(5)
    lengths, offset = (4096, 8192, 16_384, 32_768), 2047.5
    noisy = {n: (1e-3 * (n - offset) * (1 + 0.2 * rng.standard_normal(5))).tolist() for n in lengths}
    curved = {n: [1e-7 * n**2] * 3 for n in lengths}
    linear = {n: [1.9e-3 * n] * 3 for n in lengths}
    kernels = [VariantTimes(1, noisy, 4096, offset), VariantTimes(1, curved)]
    found = fit_crossover(linear, kernels)
    alphas = fits(noisy, offset, np.random.default_rng(6), 2000)[1:]
    roots = [max(np.roots([1e-7 + b, a - 1.9e-3, -a * offset]).real) for a, b in alphas]
    low, high = np.quantile(roots, (0.05, 0.95))
    assert found.high - found.low == pytest.approx(high - low, rel=0.1)


def test_the_table_shows_both_crossovers_and_where_the_fit_was_made(tmp_path):
    text = write_report(tmp_path, compared(RECORDS), command="prefillwall compare").read_text()
    section = text.split("## Crossover\n")[1].split("\n## ")[0].replace("\\*", "*")
    rows = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in section.splitlines()}
    measured, analytic = crossovers(SUMMARY)
    for layout in LAYOUTS:
        fit, counted = measured[layout], crossover_tokens(CONFIG.with_layout(layout))
        assert analytic[layout] == counted
        by_flops, tokens, interval, basis = rows[layout]
        if counted is None:
            assert by_flops == f"never ({100 * limiting_share(CONFIG.with_layout(layout)):.1f} %)"
        else:
            assert by_flops == f"{counted:,}"
        if layout == WINDOW:
            assert (tokens, interval) == ("none", "-") and "no faster than N" in basis
            continue
        assert tokens == fitted(fit.tokens) and interval == f"{fitted(fit.low)}-{fitted(fit.high)}"
        span = f"{FITTED[layout][0]:,}-{FITTED[layout][-1]:,}"
        assert basis == ("within " if fit.tokens < LENGTHS[-1] else "extrapolated from ") + span
    assert measured[FULL].tokens < LENGTHS[-1] < measured[MIXED].tokens
