"""A whole small sweep: every record, resumption, and cells that fail."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import pytest

from eval import records, sweep
from eval.measure import MEASURES
from eval.plan import Sweep, Text
from eval.plan import plan as cells_of
from eval.timing import Budget
from refmodel.presets import preset
from refmodel.source import Model
from refmodel.weights.random import random_params

pytestmark = pytest.mark.usefixtures("fast_compile")

TEXT = Text("counting", "0" * 64, tuple(i % 257 for i in range(101)))


@pytest.fixture(scope="module")
def plan() -> Sweep:
    config = preset("tiny-dense")
    model = Model(config, random_params(config, 0, jnp.float32), None, "random")
    layouts = ("full", "swa(5)+full")
    return Sweep(model, TEXT, layouts, layouts, (17, 31), 29, Budget(0, 1, 1))


def test_every_cell_is_measured_and_resumed(plan, tmp_path):
    path, started = tmp_path / "records.jsonl", []
    found = list(sweep.run_sweep(plan, path, on_start=started.append))
    assert [(r["kind"], r["layout"], r["tokens"]) for r in found] == [
        (kind, layout, tokens)
        for tokens in (17, 31)
        for kind, layout in (
            ("linear", "full"), ("attention", "full"), ("attention", "swa(5)"),
            ("prefill", "full"), ("prefill", "swa(5)+full"),
        )
    ] + [("quality", "full", 29), ("quality", "swa(5)+full", 29)]  # fmt: skip
    assert {r["status"] for r in found} == {"ok"}, found
    assert records.read(path) == found
    assert len(started) == len(cells_of(plan))

    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[4:-1]))  # as if it had been killed
    again = list(sweep.run_sweep(plan, path, resume=True))
    assert [(r["kind"], r["layout"]) for r in again] == [
        ("attention", "swa(5)"), ("prefill", "full"), ("quality", "swa(5)+full"),
    ]  # fmt: skip


def test_records_hold_what_they_say(plan, tmp_path):
    by_cell = {(r["kind"], r["layout"], r["tokens"]): r for r in sweep.run_sweep(plan, tmp_path / "r")}
    whole = by_cell["prefill", "swa(5)+full", 31]
    assert whole["flops"]["useful"]["attention"] < by_cell["prefill", "full", 31]["flops"]["useful"]["attention"]
    assert "attention" not in by_cell["linear", "full", 31]["flops"]["useful"]
    assert by_cell["attention", "swa(5)", 31]["variant"] == "swa(5)"
    assert by_cell["quality", "full", 29]["quality"]["kl_nats"] == pytest.approx(0, abs=1e-6)
    assert by_cell["quality", "swa(5)+full", 29]["quality"]["kl_nats"] > 1e-4
    assert whole["environment"]["jax"] and whole["memory"]["temp_bytes"] > 0


def test_one_failing_cell_is_recorded_and_the_sweep_goes_on(plan, tmp_path, monkeypatch):
    def boom(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nsecond line")

    monkeypatch.setattr(sweep, "MEASURES", {**MEASURES, "linear": boom})
    found = list(sweep.run_sweep(dataclasses.replace(plan, lengths=(17,), quality_tokens=0), tmp_path / "r"))
    assert [r["status"] for r in found] == ["out-of-memory", "ok", "ok", "ok", "ok"]
    assert found[0]["error"] == "RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    again = list(
        sweep.run_sweep(dataclasses.replace(plan, lengths=(17,), quality_tokens=0), tmp_path / "r", resume=True)
    )
    assert [r["kind"] for r in again] == ["linear"]  # what failed is tried again


def test_a_layout_that_is_not_timed_whole_is_timed_in_parts(plan):
    cells = cells_of(dataclasses.replace(plan, whole=("full",)))
    assert [cell.names for cell in cells if cell.kind == "prefill"] == [("full",)] * 2
    assert [cell.names for cell in cells if cell.kind == "attention"] == [("full", "swa(5)")] * 2
    assert [cell.names for cell in cells if cell.kind == "quality"] == [("full", "swa(5)+full")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": (0,)}, r"1 token or more, got \[0\]"),
        ({"lengths": ()}, "at least one number"),
        ({"lengths": (102,)}, r"the text \(counting\) has 101 tokens, 102 are asked for"),
        ({"quality_tokens": 999}, "999 are asked for"),
        ({"quality_tokens": 1}, r"0 \(none\) or at least 2 tokens of text, got 1"),
        ({"layouts": ("3*swa(5)",)}, "does not divide 4"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(plan, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(plan, **change)
