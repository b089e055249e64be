"""`prefillwall lower` without a compiler: bad input, programs that cannot be built, exit codes, two runs at once."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import pytest

from eval.cli import main
from eval.commands import lower
from eval.lowering import child, compile, programs
from eval.lowering.amd import AMD
from eval.lowering.compile import Compiled
from eval.lowering.kernel_programs import AttentionKernel, ExpertKernel
from eval.lowering.programs import ModelProgram, Program
from eval.lowering.report import Result, read_result, sentences
from eval.lowering.target import target
from eval.lowering.toolchain import Toolchain
from eval.lowering.verdict import judge
from tests.eval.lowering.test_verdict import SOUND

TARGET = target("gfx1201")
SMALL, LARGE = AttentionKernel(32, 32, 4, 1), AttentionKernel(64, 64, 4, 1)
EXPERTS, PREFILL = ExpertKernel(64, 16, 64, 32, 4, 1), ModelProgram("prefill", "tiny-dense")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "gfx906"], "accepted: gfx1201, gfx1100, gfx1151, gfx942, sm_90"),
        (["--model", "nemotron-3-nano-30b-a3b"], "can be costed"),
        (["--programs", "walk"], "'walk'; accepted: prefill, decode, quality, training, attention, experts"),
        (["--programs", "attention", "--tiles", "96x64,4,1"], "powers of two"),
        (["--programs", "attention", "--head-dim", "80"], "--head-dim 80; accepted: 16, 32, 64, 128, 256"),
        (["--programs", "prefill", "--tiles", "64x64,4,1"], "--tiles are those of the kernels"),
        (["--programs", "experts", "--tiles", "64x64,4,1"], "rows x columns x depth, warps, stages"),
        (["--programs", "attention", "--tiles", "64x64x32,4,1"], "rows x keys, warps, stages"),
        (["--layout", "5*swa(1024)+"], "layout"),
        (
            ["--programs", "attention", "--model", "gemma4-26b-a4b", "--head-dim", "256"],
            "gemma4-26b-a4b has heads of 2 sizes (16/2 of 512, 16/8 of 256): the attention kernel has one: give",
        ),
    ],
)
def test_bad_input_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(["lower", *words])
    except SystemExit as left:
        status = left.code
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def outcome(program: Program, error: str) -> Compiled:
    return Compiled(program, TARGET, None, 1.0, 1.0, 1.0, {}, error, cached=False)


@pytest.mark.parametrize(
    ("refused", "status", "of_a_sweep"),
    [
        ((), 0, 0),
        ((LARGE,), 1, 0),
        ((LARGE, SMALL), 1, 1),
        ((LARGE, EXPERTS), 1, 1),
        ((PREFILL,), 1, 1),
    ],
)
def test_a_sweep_fails_where_a_step_or_all_tiles_of_a_kernel_do(refused, status, of_a_sweep) -> None:
    results = [
        Result(outcome(program, "no" * (program in refused)), (), ()) for program in (PREFILL, SMALL, LARGE, EXPERTS)
    ]
    assert lower._status(results, sweeps=False) == status
    assert lower._status(results, sweeps=True) == of_a_sweep


def test_a_spilling_kernel_of_the_compiler_is_named_as_its_own_and_fails_nothing() -> None:
    grouped = dataclasses.replace(SOUND, name="grouped_matmul__1")
    theirs = dataclasses.replace(SOUND, name="gemm_fusion_dot_31", component="head", vgpr_spills=77, scratch_bytes=312)
    rotation = dataclasses.replace(SOUND, name="norm_rope__1", component="other")
    kernels = (SOUND, grouped, theirs, rotation)
    result = Result(outcome(PREFILL, ""), kernels, tuple(judge(kernel, TARGET) for kernel in kernels))
    plugin = Toolchain(AMD, Path("plugin.so"), {"jax": "0.10.2"})
    _, spills, whose = sentences(plugin, [result])
    assert spills.startswith("head (gemm_fusion_dot_31): spills 77 VGPRs")
    ours, others = whose.split("; XLA's own, not tuned")
    assert ours.endswith("span_attention, grouped_matmul__1, norm_rope__1") and others.endswith(": gemm_fusion_dot_31")
    assert lower._status([result], sweeps=False) == 0


def test_a_program_that_cannot_be_built_does_not_pass_and_says_why(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(child, "absent_device", lambda *_: jax.devices()[0])
    unfit = AttentionKernel(32, 32, 4, 1, head_dim=80)
    job = {"program": programs.to_json(unfit), "target": TARGET.name, "plugin": ""}
    result = child.compile_job(job, tmp_path)
    assert "ValueError: the kernel takes head sizes 16, 32" in result["error"] and result["compile_s"] == 0
    assert not read_result(outcome(unfit, result["error"])).passes

    def unknown(_):
        raise NotImplementedError("no lowering of this")

    monkeypatch.setattr(AttentionKernel, "build", unknown)
    assert "NotImplementedError: no lowering of this" in child.compile_job(job, tmp_path)["error"]


def test_of_two_runs_of_one_program_the_first_to_end_is_kept(tmp_path: Path) -> None:
    first, second, folder = tmp_path / "first", tmp_path / "second", tmp_path / "folder"
    for one in (first, second):
        one.mkdir()
        (one / "result.json").write_text(one.name)
    publish = functools.partial(compile._publish, folder=folder)
    publish(first)
    publish(second)
    assert (folder / "result.json").read_text() == "first"
    (folder / "result.json").rename(folder / "foreign")
    with pytest.raises(OSError, match="not empty"):
        publish(second)
