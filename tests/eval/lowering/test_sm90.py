"""Compiles for an H100 (sm_90) on this machine: `make lower`.

The plugin of the extra cuda-compile does the compiling; nothing here needs a GPU, a driver or CUDA.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from eval.cli import main
from eval.lowering.compile import Compiled, compile_for
from eval.lowering.cubin import read_cubin
from eval.lowering.kernel_programs import AttentionKernel, shipped_attention, shipped_experts
from eval.lowering.nvidia import NVIDIA
from eval.lowering.programs import ModelProgram, Program
from eval.lowering.report import memory_fit, own_kernels, read_result
from eval.lowering.target import target
from eval.lowering.toolchain import Toolchain, find_toolchain

pytestmark = pytest.mark.lower

TARGET = target("sm_90")
LAYOUT = "5*swa(1024)+full"


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    return find_toolchain(NVIDIA)


@pytest.fixture
def compiling(toolchain: Toolchain):
    def compiling(program: Program) -> Compiled:
        return compile_for(program, TARGET, toolchain)

    return compiling


def test_the_48_layer_model_compiles(compiling) -> None:
    compiled = compiling(ModelProgram("prefill", "qwen3-30b-a3b", LAYOUT, 16_384, impl="pallas"))
    assert not compiled.error
    assert memory_fit(compiled)["fits"] == {"bf16": True, "4.5bit": True}  # 80 GB
    by_component = {kernel.component for kernel in read_result(compiled).kernels if kernel.loop and kernel.loop.matrix}
    assert {"attention", "experts", "attention_projections", "router"} <= by_component


@pytest.mark.parametrize(("dtype", "head_dim"), list(itertools.product(("bf16", "f16"), (64, 128, 256))))
def test_the_attention_kernel_is_sound_with_the_tiles_that_ship(compiling, dtype: str, head_dim: int) -> None:
    result = read_result(compiling(shipped_attention("sm_90", head_dim, 8, dtype)))
    assert [one.sentence for one in result.verdicts if not one.passes] == []
    assert "tensor cores in both products" in result.verdicts[0].sentence


@pytest.mark.parametrize("tokens", [1024, 16_384])
def test_the_experts_kernels_are_sound_with_the_tiles_that_ship(compiling, tokens: int) -> None:
    result = read_result(compiling(shipped_experts("sm_90", tokens)))
    assert len(result.verdicts) == 2  # gate with up, and down
    assert [one.sentence for one in result.verdicts if not one.passes] == []


def test_too_much_shared_memory_is_said(compiling) -> None:
    (verdict,) = read_result(compiling(AttentionKernel(256, 128, 8, 4))).verdicts
    assert not verdict.passes and "too much shared memory" in verdict.sentence and "232,448" in verdict.sentence


def test_figures_are_what_ptxas_says(compiling, tmp_path: Path) -> None:
    """The assembler's own words on the same PTX: of a kernel that fits its registers, and of one that spills."""
    if not shutil.which("ptxas"):
        pytest.skip("needs NVIDIA's assembler: ptxas")
    stacks = []
    for program in (shipped_experts("sm_90", 1024), shipped_attention("sm_90", 128, 8)):
        compiled = compiling(program)
        objects = NVIDIA.objects(compiled.folder)
        path, one = objects[own_kernels(read_result(compiled))[0].name]
        (tmp_path / "kernel.ptx").write_text(NVIDIA.assembly(compiled.folder, path, one))
        words = ["ptxas", "-v", "-arch=sm_90a", "-o", "kernel.cubin", "kernel.ptx"]
        said = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
        (found,) = read_cubin(tmp_path / "kernel.cubin")
        assert found.vgprs == int(re.search(r"Used (\d+) registers", said)[1])
        assert found.scratch_bytes == int(re.search(r"(\d+) bytes stack frame", said)[1])
        stacks.append(found.scratch_bytes)
    assert stacks[0] == 0 < stacks[1]


def test_static_shared_memory_is_what_ptxas_says(tmp_path: Path) -> None:
    if not shutil.which("ptxas"):
        pytest.skip("needs NVIDIA's assembler: ptxas")
    (tmp_path / "kernel.ptx").write_text(STATIC)
    words = ["ptxas", "-v", "-arch=sm_90a", "-o", "kernel.cubin", "kernel.ptx"]
    said = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    (found,) = read_cubin(tmp_path / "kernel.cubin")
    assert found.lds_bytes == int(re.search(r"(\d+) bytes smem", said)[1]) == 2000
    assert (found.max_threads, [(one.offset, one.size) for one in found.arguments]) == (96, [(0, 8), (8, 4)])


STATIC = """\
.version 8.0
.target sm_90a
.address_size 64
.visible .entry k(.param .u64 p, .param .u32 n)
.reqntid 96, 1, 1
{
 .reg .b32 %r<5>; .reg .b64 %rd<2>;
 .shared .align 4 .b8 buffer[2000];
 mov.u32 %r1, %tid.x;
 mov.u32 %r2, buffer;
 st.shared.u32 [%r2+4], %r1;
 bar.sync 0;
 ld.shared.u32 %r3, [%r2+8];
 ld.param.u64 %rd1, [p];
 ld.param.u32 %r4, [n];
 add.u32 %r3, %r3, %r4;
 st.global.u32 [%rd1], %r3;
 ret;
}
"""


def test_what_was_asked_for_is_kept_and_in_the_record(toolchain, capsys, tmp_path: Path) -> None:
    words = ["lower", "--target", "sm_90", "--programs", "attention", "--tiles", "128x64,8,2", "--keep", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["card"] == "h100-sxm" and record["can_execute"] == toolchain.can_execute
    (program,) = record["programs"]
    (kernel,) = [one for one in program["kernels"] if one["name"] == "span_attention"]
    assert kernel["block"] == [256, 1, 1] and 0 < kernel["vgprs"] <= 255 and kernel["lds_bytes"] > 0
    assert kernel["sgprs"] is kernel["vgpr_spills"] is None  # a cubin does not say
    assert [one["size"] for one in kernel["arguments"]] == [8] * len(kernel["arguments"])
    (kept,) = tmp_path.iterdir()
    assert "wgmma.mma_async" in (kept / "assembly" / "span_attention.s").read_text()
    assert (kept / "kernels" / kernel["file"]).read_bytes().startswith(b"\x7fELF")
    assert (kept / "program.hlo.txt").exists() and any((kept / "llvm-ir").iterdir())
