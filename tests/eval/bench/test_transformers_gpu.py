"""The benchmark against transformers where there is no GPU: our half of it, and the table."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from dataclasses import replace

import jax
import pytest
from rich.console import Console

from eval.bench import transformers_gpu
from eval.bench.kept import ModelRun, read_kept
from eval.measure.timing import Timing


@pytest.mark.slow
def test_our_half_records_each_length_and_the_table_divides(tmp_path, capsys, fast_compile):
    asked = argparse.Namespace(
        contender="ours", model="tiny-moe", layouts=["full", "swa(5)"], tokens=[7, 13], samples=2, out=tmp_path
    )
    transformers_gpu.measure(asked)
    found = read_kept(ModelRun, tmp_path / "transformers.jsonl")
    assert [(run.layout, run.tokens) for run in found] == [("full", 7), ("full", 13), ("swa(5)", 7), ("swa(5)", 13)]
    assert all(len(run.timing.samples_ms) == 2 for run in found)
    theirs = replace(found[1], contender="transformers", timing=Timing((300.0,)))
    ours = replace(found[1], timing=Timing((200.0,)))
    console = Console(width=120)
    console.print(transformers_gpu.ratios([theirs, ours]))
    assert "1.50x" in capsys.readouterr().out


def test_a_length_that_fails_is_recorded_and_the_others_stand(tmp_path, monkeypatch, fast_compile):
    def at_length(tokens):
        if tokens == 7:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return lambda: None

    monkeypatch.setattr(transformers_gpu, "our_prefill", lambda *_: at_length)
    transformers_gpu.measure(
        argparse.Namespace(
            contender="ours", model="tiny-moe", layouts=["full"], tokens=[7, 13], samples=1, out=tmp_path
        )
    )
    assert [run.status for run in read_kept(ModelRun, tmp_path / "transformers.jsonl")] == ["failed", "ok"]


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="needs a machine without a GPU")
def test_without_a_gpu_one_line_says_so(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=str(transformers_gpu.NO_GPU)):
        transformers_gpu.refuse_without_gpu("ours")
    assert capsys.readouterr().err == "this benchmark needs a GPU\n"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="transformers' side needs torch and transformers"):
        transformers_gpu.refuse_without_gpu("transformers")
    ended = subprocess.CompletedProcess([], transformers_gpu.NO_GPU)
    asked = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command) or ended)
    monkeypatch.setattr(sys, "argv", ["transformers_gpu", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=str(transformers_gpu.NO_GPU)):
        transformers_gpu.main()
    assert len(asked) == 1


@pytest.mark.gpu
def test_transformers_takes_the_shape():
    pytest.importorskip("transformers")
    run = transformers_gpu.their_prefill(transformers_gpu.preset("tiny-moe"))(16)
    assert transformers_gpu.sample(run, 1).samples_ms[0] > 0
