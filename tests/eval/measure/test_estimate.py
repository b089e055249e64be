"""The estimate of a sweep: what any estimate owes, whatever its constants are, and a sweep counted by hand."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.measure import estimate
from eval.measure.cells import MEASURES
from eval.measure.estimate import COMPILE_S, RUNS
from eval.measure.named_layout import NamedLayout, named_layouts
from eval.measure.plan import Cell, Sweep, Text, plan
from eval.measure.records.schema import Findings
from eval.measure.timing import Budget
from refmodel.presets import preset
from refmodel.source import Model
from refmodel.weights.random import random_params
from tests.eval.measure.swept import missing_cells, run_sweep

RATE = 1e12
BUDGET = Budget(seconds=1.5)
LAYOUTS = tuple(NamedLayout.of(name, 4) for name in ("full", "swa(3)", "swa(5)", "swa(7)"))
FULL, WINDOW, *_ = LAYOUTS

cells = st.builds(
    Cell,
    kind=st.sampled_from(sorted(MEASURES)),
    tokens=st.integers(1, 2**20),
    flops=st.dictionaries(st.sampled_from(LAYOUTS), st.integers(1, 10**18), min_size=1),
    programs=st.integers(1, 7),
)


def sweep_s(cells, flops_per_s) -> float:
    return estimate.sweep_s(cells, flops_per_s, BUDGET)


@pytest.fixture(scope="module")
def sweep():
    """Nothing of it runs here; records hold a digest of its parameters."""
    config, layouts = preset("tiny-dense"), named_layouts(["swa(5)"], 4)
    model = Model(config, random_params(config, 0, jnp.float32), None, "random")
    return Sweep(model, Text("ids", "0", tuple(range(41))), layouts, layouts, (17, 31), 29, Budget(0, 1, 1))


def test_every_kind_of_cell_has_its_share():
    assert set(COMPILE_S) == {"cpu", "gpu"} and min(RUNS.values()) > 1  # each program is run, and run again
    for platform in COMPILE_S.values():
        assert set(RUNS) == set(platform) == set(MEASURES) and min(platform.values()) > 0


@given(st.lists(cells, max_size=5), st.lists(cells, max_size=5))
def test_two_sweeps_take_as_long_as_both(some, others):
    assert sweep_s([*some, *others], RATE) == pytest.approx(sweep_s(some, RATE) + sweep_s(others, RATE))
    assert sweep_s([*some, *others], RATE) == pytest.approx(sweep_s([*others, *some], RATE))
    assert sweep_s([], RATE) == 0


@given(cells, st.integers(2, 9))
def test_more_work_takes_longer_and_a_faster_device_takes_less(cell, factor):
    first = cell.layouts[0]
    dearer = dataclasses.replace(cell, flops=cell.flops | {first: 2 * cell.flops[first] + 10**12})
    assert sweep_s([dearer], RATE) >= sweep_s([cell], RATE)
    assert sweep_s([dataclasses.replace(cell, programs=cell.programs + 1)], RATE) > sweep_s([cell], RATE)
    assert sweep_s([cell.only([first])], RATE) <= sweep_s([cell], RATE)
    assert 0 < sweep_s([cell], factor * RATE) <= sweep_s([cell], RATE)
    long = dataclasses.replace(cell, flops={first: 10**15})  # far beyond what is sampled all the same
    compiling_s = COMPILE_S["cpu"][cell.kind] * cell.programs
    running_s, faster_s = (sweep_s([long], rate) - compiling_s for rate in (RATE, factor * RATE))
    assert running_s == pytest.approx(factor * faster_s)


@pytest.mark.parametrize("kind", sorted(MEASURES))
def test_what_takes_no_time_is_sampled_for_a_while_all_the_same(kind):
    """But the quality of a text is read once."""
    compiling_s = 2 * COMPILE_S["cpu"][kind]
    waits_s = sweep_s([Cell(kind, 64, {FULL: 1, WINDOW: 1})], 1e40) - compiling_s
    assert waits_s == pytest.approx(0 if kind == "quality" else BUDGET.seconds)


def test_a_small_sweep_by_hand(sweep, monkeypatch):
    """Rounded figures: whole prefills of 7 and of 2 TFLOP, the first twice, 11 TFLOP of two kernels fifteen times."""
    monkeypatch.setattr(estimate, "RUNS", {"prefill": 1.5, "attention": 15.0, "apart": 6.0})
    monkeypatch.setattr(estimate, "COMPILE_S", {"cpu": {"prefill": 2.0, "attention": 1.0, "apart": 0.5}})
    by_hand = [
        (Cell("prefill", 64, {FULL: 7 * 10**12, WINDOW: 2 * 10**12}), 24 + 4),
        (Cell("attention", 64, {FULL: 8 * 10**12, WINDOW: 3 * 10**12}), 165 + 1 + 1),
        (Cell("apart", 64, {WINDOW: 2 * 10**12}, programs=3), 12 + 1.5),
    ]
    for cell, seconds in by_hand:
        assert sweep_s([cell], 1e12) == pytest.approx(seconds)
    assert sweep_s([cell for cell, _ in by_hand], 1e12) == pytest.approx(28 + 167 + 13.5)
    monkeypatch.setattr(estimate, "matmul_flops_per_s", lambda _: 2e12)
    said = estimate.in_words([cell for cell, _ in by_hand], jnp.float32, BUDGET, extra_s=60)
    assert said == "about 2.8 min at the 2000 GFLOP/s of a matrix product just now"  # (100.5 + 7.5 + 60) / 60 = 2.8


def test_layers_apart_take_as_long_as_their_distinct_layers(sweep):
    """Many equal layers take no longer than one of each; in the whole model they do."""

    def seconds(n_layers, *, apart):
        config = dataclasses.replace(sweep.model.config, layers=sweep.model.config.layers[:1] * n_layers)
        model = dataclasses.replace(sweep.model, config=config)
        layouts = named_layouts(["swa(5)"], n_layers)
        deep = dataclasses.replace(
            sweep, model=model, layouts=layouts, whole=layouts, layers_apart=apart, lengths=(31,), quality_tokens=0
        )
        return sweep_s(plan(deep), 1e6)  # a rate at which running is all

    assert seconds(64, apart=True) == seconds(4, apart=True) < seconds(4, apart=False)
    assert seconds(64, apart=False) > 8 * seconds(4, apart=False)


def test_nothing_is_left_of_a_sweep_that_is_done_and_its_share_of_one_that_was_stopped(sweep, tmp_path, monkeypatch):
    at_once = {kind: lambda _, layouts, __: {layout: Findings() for layout in layouts} for kind in MEASURES}
    monkeypatch.setattr("eval.measure.sweep.MEASURES", at_once)
    path = tmp_path / "records.jsonl"
    left = [sweep_s(missing_cells(sweep, path), RATE)]
    assert left == [sweep_s(plan(sweep), RATE)]
    for cell in plan(sweep):
        list(run_sweep(sweep, [cell], path))
        left.append(sweep_s(missing_cells(sweep, path), RATE))
        assert left[-2] - left[-1] == pytest.approx(sweep_s([cell], RATE))
    assert left[-1] == 0 and estimate.in_words(missing_cells(sweep, path), jnp.float32, BUDGET) == "nothing is missing"
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in kept if b'"swa(5)", "tokens": 31' not in line or b'"prefill"' in line))
    (part,) = missing_cells(sweep, path)
    (whole,) = (cell for cell in plan(sweep) if (cell.kind, cell.tokens) == ("attention", 31))
    assert part == whole.only([NamedLayout.of("swa(5)", 1)]) and 0 < sweep_s([part], RATE) < sweep_s([whole], RATE)


def test_the_rate_is_one_that_a_machine_has():
    assert 1e8 < estimate.matmul_flops_per_s(jnp.float32) < 1e16
