"""Benchmarks of packed weights on small models: what their records and tables hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.bench import packed_model, packed_quality
from eval.bench.kept import read_kept
from eval.bench.packed_results import MODELS, QUALITY, PackedRun, QualityRun, model_table, quality_table
from eval.bench.results import ROOT


@pytest.mark.slow
def test_records_of_a_model_by_format(tmp_path, capsys):
    formats = ["bf16", "int8(16)"]
    words = ["--model", "tiny-dense", "--tokens", "33", "--contexts", "17", "--samples", "2", "--out", str(tmp_path)]
    packed_model.main([*words, "--weights", *formats])
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert [(one["kind"], one["weights"], one["tokens"]) for one in records] == [
        ("prefill", "bf16", 33), ("prefill", "int8(16)", 33), ("decode_step", "bf16", 17),
        ("decode_step", "int8(16)", 17),
    ]  # fmt: skip
    plain, packed, *_ = records
    assert plain["bits"] == 16 and 9 < packed["bits"] < 9.2 and len(packed["samples_ms"]) >= 2
    assert plain["weight_bytes"] == pytest.approx(16 / packed["bits"] * packed["weight_bytes"])
    table = model_table(read_kept(PackedRun, tmp_path / "records.jsonl"), Path("here"))
    assert [row[5] for row in table.rows][::2] == ["1.00", "1.00"]
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.slow
def test_records_of_quality(tmp_path):
    packed_quality.main(["--tokens", "97", "--weights", "kept", "int4", "--out", str(tmp_path)])
    plain, kept, int4 = (json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines())
    assert plain["kl_nats"] == 0 and plain["top1_agreement"] == 1 and plain["bits"] == 32
    assert kept["kl_nats"] < 1e-6 and kept["perplexity"] == pytest.approx(plain["perplexity"], rel=1e-4)
    assert 0.05 < int4["kl_nats"] < 2 and int4["top1_agreement"] < 1
    assert len(quality_table(read_kept(QualityRun, tmp_path / "records.jsonl"), Path("here")).rows) == 3


def test_the_kept_files_are_packed_as_the_file_is():
    """What `kept` holds of SmolLM2 is its float32 weights, bit for bit, in less than a fifth of their bytes."""
    runs = {run.weights: run for run in read_kept(QualityRun, ROOT / QUALITY)}
    assert runs["kept"].kl_nats < 1e-6 and runs["kept"].weight_bytes < runs["float32"].weight_bytes / 5
    assert runs["int8(64)" if "int8(64)" in runs else "int8"].kl_nats < runs["int4"].kl_nats


def test_temporaries_of_packed_weights_are_those_of_others():
    """Nothing is expanded beside the weights: the compiler's plan of each program, within 3 %."""
    runs = read_kept(PackedRun, ROOT / MODELS)
    plain = {(run.kind, run.tokens): run.temporary_bytes for run in runs if run.bits == 16}
    assert all(run.temporary_bytes <= 1.03 * plain[run.kind, run.tokens] for run in runs)
