"""The estimate of a sweep: it grows with what is to be done, and counts only that."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import pytest

from eval import estimate, records
from eval.estimate import sweep_s
from eval.measure import MEASURES
from eval.plan import Cell, plan, usual_sweep
from eval.sweep import missing_cells, run_sweep
from eval.timing import Budget
from refmodel.source import open_model

RATE = 1e12


@pytest.fixture(scope="module")
def sweep():
    return usual_sweep(open_model("tiny-dense"), ["swa(5)"], [17, 31], quality_tokens=29, budget=Budget(0, 1, 1))


def test_every_kind_of_cell_has_its_share():
    assert set(estimate.RUNS) == set(estimate.COMPILE_S) == set(MEASURES)


def test_it_is_additive_and_falls_with_the_rate(sweep):
    cells = plan(sweep)
    assert sweep_s(cells, RATE) == pytest.approx(sum(sweep_s([cell], RATE) for cell in cells))
    compiling = sum(estimate.COMPILE_S[cell.kind] * len(cell.names) for cell in cells)
    assert sweep_s(cells, RATE) - compiling == pytest.approx(7 * (sweep_s(cells, 7 * RATE) - compiling), rel=1e-6)
    assert {cell.kind for cell in cells} == {"linear", "attention", "prefill", "quality"}
    apart = plan(dataclasses.replace(sweep, layers_apart=True))
    assert {cell.kind for cell in apart} == {"apart"} and sweep_s(apart, RATE) > 0


def test_only_what_is_missing_counts(sweep, tmp_path, fast_compile):
    path = tmp_path / "records.jsonl"
    assert missing_cells(sweep, path) == plan(sweep)
    found = list(run_sweep(sweep, path))
    assert missing_cells(sweep, path) == []
    assert estimate.in_words([], jnp.float32) == "nothing is missing"
    path.unlink()
    for record in found:
        if (record["kind"], record["layout"], record["tokens"]) != ("attention", "swa(5)", 31):
            records.append(path, record)
    (left,) = missing_cells(sweep, path)
    (whole,) = (cell for cell in plan(sweep) if (cell.kind, cell.tokens) == ("attention", 31))
    assert left == Cell("attention", 31, {"swa(5)": whole.flops_by_name["swa(5)"]})
    assert 0 < sweep_s([left], RATE) < sweep_s([whole], RATE)


def test_in_words():
    cell = Cell("linear", 5, {"full": 10**15})
    assert estimate.in_words([cell], jnp.float32).startswith("about ")
