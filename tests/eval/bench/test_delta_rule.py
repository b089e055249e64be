"""The benchmark of the gated delta rule where there is no GPU: what it records, and how it says who is absent."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from eval.bench import delta_rule
from eval.bench.gpu_results import delta_rule_table
from eval.bench.kept import KernelRun, kept

pytestmark = pytest.mark.usefixtures("fast_compile")


def test_a_case_records_speed_error_and_reasons(monkeypatch, tmp_path):
    monkeypatch.setattr(delta_rule, "KEY_HEADS", 2)
    monkeypatch.setattr(delta_rule, "VALUE_HEADS", 6)
    monkeypatch.setattr(delta_rule, "SIZE", 16)
    about = {"time": "now", "device_kind": "cpu", "jax": "0", "git_commit": "0123456789"}
    records = {record["contender"]: record for record in delta_rule.run_case(67, samples=2)}
    for name in ("ours", "plain XLA"):
        record = records[name]
        assert record["status"] == "ok" and record["flops"] == 6 * 16 * 16 * 6 * 67
        assert record["relative_error"] < 1e-2
        assert record["tflops"] == pytest.approx(record["flops"] / np.median(record["samples_ms"]) / 1e9)
    assert importlib.util.find_spec("fla") or records[delta_rule.PEER]["reason"].startswith("not installed: No module")

    records["plain XLA"]["samples_ms"] = [4.0, 8.0]
    records["ours"]["samples_ms"] = [2.0, 2.0]
    table = delta_rule_table([kept(KernelRun, record | about) for record in records.values()], tmp_path / "r.jsonl")
    times = {row[1]: row[2:4] for row in table.rows}
    assert times["ours"] == ("2.000 ms", "1.00x") and times["plain XLA"] == ("6.000 ms", "3.00x")
