"""Predictions of published rates that were left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest
from scipy.stats import binomtest

from eval.cost.efficiency.groups import SCHEMES, groups
from eval.cost.efficiency.work import work_of
from eval.cost.family_errors import GOOD_FIT, FamilySummary, proportion_within, summarise
from eval.cost.published import Measured, published
from eval.cost.validation import TABLE, Prediction, validate
from tests.eval.cost.packaged import measured, predictions

MODELS = ("llama2-7b", "llama3-8b", "qwen3-8b", "gemma3-12b", "qwen3-30b-a3b")


def made(seed: int = 0, noise: float = 0.004) -> list[Measured]:
    """Rows of five models in four builds whose efficiencies are products of the model's and of the build's."""
    rng = np.random.default_rng(seed)
    linear = {model: rng.uniform(0.1, 0.3) for model in MODELS}
    rows = []
    for build in range(4):
        faster, attention = rng.uniform(0.9, 1.1), rng.uniform(0.05, 0.15)
        for model in MODELS:
            for tokens, depth in ((512, 0), (2048, 16_384)):
                run = f"{build} {model} {depth}"
                row = measured(model, tokens, depth, stack=f"rocm-{build}", run=run)
                work = work_of(row)
                at_peak = work.linear_flops / (linear[model] * faster) + work.attention_flops / attention
                seconds = at_peak / row.card.peak_flops_per_s("f16")
                rate = tokens / (seconds * np.exp(noise * rng.standard_normal()))
                rows.append(dataclasses.replace(row, tokens_per_s=float(rate), source=run))
    return rows


def by(predictions: Iterable[Prediction], scheme: str) -> dict[str, FamilySummary]:
    return {one.family: one for one in summarise(predictions) if one.scheme == scheme}


@pytest.mark.parametrize("scheme", ["row", "long rows of a series", "long rows of a model"])
def test_rates_that_are_products_of_model_and_build_are_found(scheme: str) -> None:
    found = by(validate(made(), schemes=[scheme]), scheme)["ROCm, at depth"]
    assert found.count == 20 and found.coverage >= 0.8
    assert found.median_error is not None and found.median_error < 0.12


def test_nothing_of_what_is_left_out_is_in_its_prediction() -> None:
    rows = made()
    (group, *_) = groups(rows, "long rows of a model")
    before, after = (
        [one for one in validate(some, schemes=["long rows of a model"]) if one.row.model == rows[group[0]].model]
        for some in (rows, [dataclasses.replace(r, tokens_per_s=r.tokens_per_s * (1 + 0.02 * (i in group)))
                            for i, r in enumerate(rows)])
    )  # fmt: skip
    for one, other in zip(before, after, strict=True):
        assert one.tokens_per_s == pytest.approx(other.tokens_per_s, rel=1e-3)


def test_a_table_is_predicted_from_others_alone() -> None:
    rows = made()
    mine, theirs = rows[:7], rows[7:]
    wrong = [dataclasses.replace(row, tokens_per_s=row.tokens_per_s * 9) for row in mine]
    first, second = (validate(some, theirs, [TABLE]) for some in (mine, wrong))
    assert [one.tokens_per_s for one in first] == [one.tokens_per_s for one in second] and len(first) == 7
    assert validate(mine, [], [TABLE]) == []


def test_an_answer_may_be_that_it_is_not_known() -> None:
    alone = dataclasses.replace(measured("qwen3-next-80b-a3b", 2048, 16_384, 900.0, stack="new"), source="elsewhere")
    (one,) = validate([alone], made(), [TABLE])
    assert not one.known and one.low < one.tokens_per_s < one.high
    (summary,) = summarise([one])
    assert summary.median_error is None and summary.verdict == "not known" and summary.unknown == 1


def test_every_packaged_row_is_predicted_under_every_scheme() -> None:
    rows = published()
    assert len(rows) > 950
    found = predictions()
    assert {one.scheme for one in found} == set(SCHEMES)
    assert sum(one.scheme == "row" for one in found) == len(rows)
    assert all(0 < one.low < one.tokens_per_s < one.high and one.basis for one in found)


@pytest.mark.parametrize(
    ("scheme", "family", "most"),
    [
        ("row", "ROCm, at depth", 0.01), ("row", "ROCm, short prompt", 0.01), ("row", "ROCm, decode", 0.01),
        ("row", "ROCm, whole prompt", 0.10), ("row", "Vulkan, at depth", 0.08), ("row", "Vulkan, short prompt", 0.07),
        ("row", "Vulkan, whole prompt", 0.09), ("row", "Vulkan, decode", 0.03),
        ("long rows of a series", "ROCm, at depth", 0.01), ("long rows of a series", "Vulkan, at depth", 0.08),
        ("long rows of a model", "ROCm, at depth", 0.035), ("long rows of a model", "Vulkan, at depth", 0.08),
        ("build", "ROCm, at depth", 0.01), ("build", "ROCm, short prompt", 0.01),
        ("revision", "ROCm, at depth", 0.03), ("revision", "ROCm, short prompt", 0.02),
    ],
)  # fmt: skip
def test_medians_of_left_out_rows(scheme: str, family: str, most: float) -> None:
    found = by(predictions(), scheme)[family]
    assert found.median_error is not None and found.median_error < most
    assert found.fits == (found.median_error < GOOD_FIT)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nine_of_ten_intervals_hold_what_was_published(scheme: str) -> None:
    """Of all together, and of every family with thirty rows or more of which some are said to be known."""
    for found in by(predictions(), scheme).values():
        assert found.count < 30 or found.unknown == found.count or 0.85 < found.coverage < 0.95, found
    of_scheme = [one.covered for one in predictions() if one.scheme == scheme]
    assert 0.85 < np.mean(of_scheme) < 0.95


@pytest.mark.parametrize(("count", "of"), [(0, 7), (3, 4), (5, 5), (231, 257)])
def test_what_a_coverage_may_be(count: int, of: int) -> None:
    expected = binomtest(count, of).proportion_ci(method="wilson")
    assert proportion_within(count, of) == pytest.approx((expected.low, expected.high), abs=1e-5)


def test_no_parabola_is_better() -> None:
    beside = [one for one in summarise(predictions()) if one.naive_count]
    assert sum(one.naive_count for one in beside) >= 8
    for one in beside:
        assert one.beside_naive_error is not None and one.naive_median_error is not None
        assert one.beside_naive_error < one.naive_median_error
