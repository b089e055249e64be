"""Compiles for the Radeon AI PRO R9700 (gfx1201) on this machine: `make lower`.

The plugin of the extra rocm-compile does the compiling; nothing here needs a GPU or ROCm.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import struct
from pathlib import Path

import pytest

from attention.kernels.target import compiling_for
from eval.cli import main
from eval.cost.flops.compiled import count_hlo
from eval.cost.flops.hlo import array_dims, parse_hlo
from eval.cost.flops.traced import count_flops
from eval.lowering.compile import compile_for
from eval.lowering.kernel_programs import AttentionKernel, shipped_attention, shipped_experts
from eval.lowering.programs import ModelProgram
from eval.lowering.report import memory_fit, read_result
from eval.lowering.target import target
from eval.lowering.tile_search import parse_tile
from refmodel.presets import preset

pytestmark = pytest.mark.lower

TARGET = target("gfx1201")
LAYOUT = "5*swa(1024)+full"
COMPILED_TOLERANCE = 1e-3


# ------------------------------------------------------------------------------------------------ the whole model


def whole_model(tokens: int) -> ModelProgram:
    return ModelProgram("prefill", "qwen3-30b-a3b", LAYOUT, tokens)


def kernels_of_what_was_counted(compiling, program: ModelProgram) -> set[str]:
    """The kernels of a program whose compiled form has the FLOPs of its trace."""
    compiled = compiling(program)
    assert not compiled.error
    with compiling_for("gfx1201"):
        function, arguments = program.build()
        traced = count_flops(function, *arguments)
    counted = count_hlo(compiled.hlo, traced.visits, traced.kernels)
    assert counted.total == pytest.approx(traced.total, rel=COMPILED_TOLERANCE)
    assert not counted.unseen_calls
    return set(traced.kernels)


def test_the_48_layer_model_compiles_and_is_the_program_that_was_counted(compiling) -> None:
    kernels = kernels_of_what_was_counted(compiling, whole_model(16_384))
    a_card_runs = {"span_attention", "grouped_matmul", "norm_rope", "choose_experts"}  # not what this machine would
    assert kernels == a_card_runs


def test_no_layers_experts_are_copied(compiling) -> None:
    """Stacked experts [L, E, ...] are arguments; nothing that the program computes is as large as one layer of them."""
    config = preset("qwen3-30b-a3b")
    gate = config.layers[0].parameter("ffn.gate")  # [E, D, F]
    matrices = gate.shape[1:], gate.shape[:0:-1]
    moved = ("parameter", "tuple", "get-tuple-element", "while", "bitcast", "conditional", "call")
    large = [
        one.name
        for instructions in parse_hlo(compiling(whole_model(16_384)).hlo).computations.values()
        for one in instructions.values()
        if one.opcode not in moved and any(
            array_dims(shape)[-2:] in matrices and math.prod(array_dims(shape)) >= gate.size
            for shape in re.findall(r"\w+\[[\d,]+\]", one.shape)
        )
    ]  # fmt: skip
    assert large == []


def test_temporaries_of_a_long_prompt_stay_small(compiling) -> None:
    compiled = compiling(whole_model(65_536))
    assert compiled.memory["temp_bytes"] < 5e9
    fit = memory_fit(compiled)
    assert fit["fits"] == {"bf16": False, "4.5bit": True}  # 61 GB of weights; 17 GB with the same temporaries
    assert fit["peak_bytes"]["bf16"] > compiled.memory["argument_bytes"]


def test_the_hybrid_compiles_whole_and_is_the_program_that_was_counted(compiling) -> None:
    """Qwen3.5-35B-A3B: 30 DeltaNet layers by three kernels, each of which uses the matrix units and spills nothing."""
    program = ModelProgram("prefill", "qwen3.5-35b-a3b", "full", 16_384)
    names = ("delta_rule_inverse", "delta_rule_states", "delta_rule_out")
    assert set(names) < kernels_of_what_was_counted(compiling, program)
    own = [one for one in read_result(compiling(program)).kernels if one.name.startswith(names)]
    assert len(own) == len(names) and not any(one.spills for one in own)
    assert all(one.whole.matrix and one.lds_bytes <= TARGET.lds_bytes for one in own)


# --------------------------------------------------------------------------------------------------------- kernels


@pytest.mark.parametrize(
    ("dtype", "head_dim", "group"), list(itertools.product(("bf16", "f16"), (64, 128, 256), (1, 4, 8)))
)
def test_the_attention_kernel_is_sound_with_the_tiles_that_ship(compiling, dtype, head_dim, group) -> None:
    result = read_result(compiling(shipped_attention("gfx1201", head_dim, group, dtype)))
    assert [one.sentence for one in result.verdicts if not one.passes] == []
    assert all(kernel.lds_bytes <= TARGET.lds_bytes for kernel in result.kernels)
    (attention,) = (kernel for kernel in result.kernels if kernel.name.startswith("span_attention"))
    if head_dim <= 128:  # there V comes by column
        assert attention.loop.narrow_lds_loads == 0


@pytest.mark.parametrize(("dtype", "tokens"), list(itertools.product(("bf16", "f16"), (1024, 16_384))))
def test_the_experts_kernels_are_sound_with_the_tiles_that_ship(compiling, dtype, tokens) -> None:
    result = read_result(compiling(shipped_experts("gfx1201", tokens, dtype)))
    assert len(result.verdicts) == 2  # gate with up, and down
    assert [one.sentence for one in result.verdicts if not one.passes] == []


def test_a_sweep_of_experts_puts_the_best_first(toolchain, capsys) -> None:
    words = ["lower", "--programs", "experts", "--tokens", "1024", "--json", "--tiles"]
    assert main([*words, "64x64x32,4,1", "64x64x64,4,1"]) == 0
    programs = json.loads(capsys.readouterr().out)["programs"]
    loops = [[kernel["loop"] for kernel in one["kernels"] if kernel["name"].startswith("grouped_matmul")]
             for one in programs]  # fmt: skip
    shares = [min(loop["kinds"]["matrix"] / loop["instructions"] for loop in two) for two in loops]
    assert [len(two) for two in loops] == [2, 2] and shares[0] > shares[1]


def test_a_refused_tile_of_experts_says_why(compiling) -> None:
    like = shipped_experts("gfx1201", 1024)
    (verdict,) = read_result(compiling(parse_tile("128x256x128,8,4", like))).verdicts
    assert not verdict.passes and "too much LDS" in verdict.sentence


@pytest.mark.parametrize(("stages", "said"), [(3, "too much LDS"), (2, "spills")])
def test_a_bad_tile_is_named_with_one_that_works(toolchain, capsys, stages: int, said: str) -> None:
    words = ["lower", "--programs", "attention", "--json", "--tiles", f"128x128,8,{stages}"]
    assert main(words) == 1
    record = json.loads(capsys.readouterr().out)
    (program,) = record["programs"]
    assert not program["passes"] and said in program["verdicts"][0]["sentence"]
    (hint,) = record["suggestions"].values()
    rows, keys, warps, stages = map(int, re.findall(r"\d+", hint))
    result = read_result(compile_for(AttentionKernel(rows, keys, warps, stages), TARGET, toolchain))
    assert result.passes


# ------------------------------------------------------------------------------------------------------ the figures

NAMES = {
    "vgprs": ".vgpr_count", "sgprs": ".sgpr_count", "vgpr_spills": ".vgpr_spill_count",
    "sgpr_spills": ".sgpr_spill_count", "scratch_bytes": ".private_segment_fixed_size", "lanes": ".wavefront_size",
    "argument_bytes": ".kernarg_segment_size",
}  # fmt: skip


def integer_after(note: bytes, key: str) -> int:
    """The msgpack integer that follows a key in the bytes of a note."""
    at = note.index(bytes([0xA0 | len(key)]) + key.encode() if len(key) < 32 else key.encode())
    at += len(key) + (len(key) < 32)
    first = note[at]
    if first < 0x80:
        return first
    width, form = {0xCC: (1, "B"), 0xCD: (2, "H"), 0xCE: (4, "I")}[first]
    return struct.unpack(f">{form}", note[at + 1 : at + 1 + width])[0]


def note_of(path: Path) -> bytes:
    """The first note of an ELF file, found by its section's type."""
    file = path.read_bytes()
    sections_at, size, count = struct.unpack_from("<Q", file, 0x28)[0], *struct.unpack_from("<HH", file, 0x3A)
    for i in range(count):
        kind, offset, length = struct.unpack_from("<4xI16xQQ", file, sections_at + i * size)
        if kind == 7:
            return file[offset : offset + length]
    raise AssertionError("no note")


def test_figures_equal_the_code_objects_metadata(compiling) -> None:
    compiled = compiling(AttentionKernel(64, 32, 4, 1))
    result = read_result(compiled)
    assert len(result.kernels) > 3
    for kernel in result.kernels:
        note = note_of(compiled.folder / "kernels" / kernel.file)
        assert {name: getattr(kernel, name) for name in NAMES} == {
            name: integer_after(note, key) for name, key in NAMES.items()
        }


def test_what_an_emulator_needs_is_in_the_record(toolchain, capsys, tmp_path: Path) -> None:
    words = ["lower", "--programs", "attention", "--tiles", "64x32,4,1", "--keep", str(tmp_path), "--json"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["can_execute"] == toolchain.can_execute and ("cannot execute" in record["evidence"]) != (
        toolchain.can_execute
    )
    (program,) = record["programs"]
    (kernel,) = [one for one in program["kernels"] if one["name"] == "span_attention"]
    assert kernel["block"] == [128, 1, 1] and math.prod(kernel["grid"]) > 1 and kernel["lds_bytes"] > 0
    assert len(kernel["buffers"]) == len(kernel["arguments"])
    assert [buffer.split()[1] for buffer in kernel["buffers"][:3]] == [
        "bf16[1,4096,32,128]", "bf16[1,4096,4,128]", "bf16[1,4,128,4096]",  # V by column
    ]  # fmt: skip
    assert [one["offset"] for one in kernel["arguments"]] == list(range(0, 8 * len(kernel["arguments"]), 8))
    (kept,) = tmp_path.iterdir()
    assert (kept / "program.hlo.txt").exists() and (kept / "kernels" / kernel["file"]).exists()
    assert any("wmma" in path.read_text() for path in (kept / "llvm-ir").iterdir())
    listing = (kept / "assembly" / "span_attention.s").read_text()
    assert listing.count("matrix") + listing.count("v_wmma") == kernel["whole"]["kinds"]["matrix"]


def test_a_second_look_compiles_nothing(compiling) -> None:
    program = AttentionKernel(64, 32, 4, 1)
    compiling(program)
    assert compiling(program).cached


@pytest.mark.parametrize("name", ["gfx1100", "gfx1151", "gfx942"])
def test_other_targets_compile(toolchain, name: str) -> None:
    compiled = compile_for(ModelProgram("prefill", "tiny-dense", "swa(13)+full", 61), target(name), toolchain)
    assert not compiled.error
    kernels = read_result(compiled).kernels
    assert {kernel.lanes for kernel in kernels} == {target(name).lanes}
