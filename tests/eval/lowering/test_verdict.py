"""Verdicts: what is a fault, what is said of it, and the way from a tile that fails to one that passes."""

from __future__ import annotations

import dataclasses

import pytest

from eval.lowering.compile import Compiled
from eval.lowering.kernel_programs import AttentionKernel, ExpertKernel, KernelProgram
from eval.lowering.kernels import Kernel
from eval.lowering.loops import Code
from eval.lowering.machine_code import MACS_OF_WMMA
from eval.lowering.target import TARGETS, target
from eval.lowering.tile_search import every_tile, is_tile_of, parse_tile, smaller, suggestion
from eval.lowering.verdict import judge, judge_kernel_program

TARGET = target("gfx1201")
PROGRAM = AttentionKernel(64, 64, 4, 1, head_dim=128, group=8)
SOUND = Kernel(
    name="span_attention", component="attention", scope="", products=(), vgprs=240, sgprs=50, vgpr_spills=0,
    sgpr_spills=0, scratch_bytes=0, lds_bytes=32_768, lanes=32, waves=6, grid=(5, 1, 1), block=(128, 1, 1), buffers=(),
    arguments=(), argument_bytes=64, whole=Code(900, {"matrix": 192}, {}, 192 * MACS_OF_WMMA),
    loop=Code(300, {"matrix": 64, "vector": 200}, {128: 32}, 64 * MACS_OF_WMMA), file="x.hsaco",
)  # fmt: skip


def compiled(error: str = "") -> Compiled:
    return Compiled(PROGRAM, TARGET, None, 1.0, 1.0, 1.0, {}, error, cached=False)


def test_a_sound_kernel_says_what_it_is_made_of() -> None:
    (verdict,) = judge_kernel_program(compiled(), [SOUND])
    assert verdict.passes and not verdict.remarks
    for words in ("64x64 tiles, 4 warps", "240 VGPRs", "no spills", "32 KiB LDS", "WMMA in both products"):
        assert words in verdict.sentence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vgpr_spills": 87, "scratch_bytes": 352}, "spills 87 VGPRs to 352 bytes of scratch"),
        ({"lds_bytes": 65_537, "waves": 0}, "65,537 bytes of LDS where a workgroup may have 65,536"),
        ({"waves": 0}, "does not fit the registers"),
        ({"loop": Code(300, {"matrix": 32}, {}, 32 * MACS_OF_WMMA)}, "WMMA in 1 of 2 products"),
        ({"loop": Code(300, {}, {})}, "WMMA in 0 of 2 products"),
        ({"name": "other"}, "no kernel span_attention was launched"),
    ],
)
def test_faults(change: dict, said: str) -> None:
    (verdict,) = judge_kernel_program(compiled(), [dataclasses.replace(SOUND, **change)])
    assert not verdict.passes and said in verdict.sentence


def test_a_workgroup_may_take_all_that_it_may_have() -> None:
    (verdict,) = judge_kernel_program(compiled(), [dataclasses.replace(SOUND, lds_bytes=TARGET.lds_bytes)])
    assert verdict.passes and "64 KiB LDS" in verdict.sentence


def test_slow_is_a_remark_and_no_fault() -> None:
    loop = Code(300, {"matrix": 96}, {16: 256, 128: 3}, 96 * MACS_OF_WMMA)
    (verdict,) = judge_kernel_program(compiled(), [dataclasses.replace(SOUND, loop=loop)])
    assert verdict.passes
    assert "256 LDS loads of 16 bits" in verdict.sentence
    assert "96 matrix instructions where 64 would do" in verdict.sentence


def test_every_launch_of_a_kernel_is_judged() -> None:
    second = dataclasses.replace(SOUND, name="span_attention__1", vgpr_spills=3, scratch_bytes=12)
    assert [one.passes for one in judge_kernel_program(compiled(), [SOUND, second])] == [True, False]


def test_a_refused_compile_is_explained() -> None:
    error = "RESOURCE_EXHAUSTED: Shared memory size limit exceeded: requested 131072, available: 65536"
    (verdict,) = judge_kernel_program(compiled(error), [])
    assert "too much LDS: 131,072 bytes where a workgroup of gfx1201 may have 65,536" in verdict.sentence
    (verdict,) = judge_kernel_program(compiled("INTERNAL: something\nmore"), [])
    assert "refuses it: INTERNAL: something" in verdict.sentence


def test_the_compilers_own_product_without_matrix_units_is_a_fault() -> None:
    plain = Code(100, {}, {})
    products = ("bf16",)
    assert not judge(dataclasses.replace(SOUND, products=products, whole=plain, loop=plain), TARGET).passes
    assert judge(dataclasses.replace(SOUND, products=("f32",), whole=plain, loop=plain), TARGET).passes
    assert judge(dataclasses.replace(SOUND, products=products), TARGET).passes


def test_suggestions_go_down_and_stop_at_the_first_that_passes() -> None:
    bad = AttentionKernel(128, 128, 8, 3)
    tried: list[AttentionKernel] = []

    def passes(program: AttentionKernel) -> bool:
        tried.append(program)
        return program.keys <= 64

    found = suggestion(bad, passes)
    assert (found.rows, found.keys, found.warps, found.stages) == (128, 64, 8, 1)
    assert [one.stages for one in tried] == [2, 1, 1]
    assert suggestion(bad, lambda program: False) is None


EXPERTS = ExpertKernel(128, 64, 128, 32, 8, 2)


@pytest.mark.parametrize("bad", [AttentionKernel(128, 128, 8, 3), EXPERTS, ExpertKernel(256, 64, 256, 64, 8, 4)])
def test_smaller_tiles_shrink_strictly_and_stay_tiles(bad: KernelProgram) -> None:
    tried = list(smaller(bad))
    areas = [one.rows * getattr(one, "keys", 1) * getattr(one, "columns", 1) * getattr(one, "depth", 1) * one.stages
             for one in tried]  # fmt: skip
    assert areas == sorted(areas, reverse=True) and len(set(areas)) == len(areas) > 3
    assert all(getattr(one, "least_rows", 0) <= one.rows and one.warps <= bad.warps for one in tried)


def test_tiles_are_read_as_they_are_written() -> None:
    tile = parse_tile("128x64,8,2", PROGRAM)
    assert (tile.rows, tile.keys, tile.warps, tile.stages, tile.head_dim) == (128, 64, 8, 2, 128)
    assert tile in every_tile(PROGRAM, "gfx1201")
    for word in ("128x64", "128x64,8", "axb,8,1", "0x64,4,1", "128x64x32,8,1"):
        with pytest.raises(ValueError, match="such as 128x64,8,1; got"):
            parse_tile(word, PROGRAM)
    with pytest.raises(ValueError, match="powers of two"):
        parse_tile("96x64,4,1", PROGRAM)


def test_tiles_of_experts_have_a_depth() -> None:
    tile = parse_tile("32x64x128,4,2", EXPERTS)
    assert (tile.rows, tile.columns, tile.depth, tile.warps, tile.stages) == (32, 64, 128, 4, 2)
    assert tile.least_rows == 32  # no more than the rows of the tile
    assert is_tile_of("32x64x128,4,2", EXPERTS) and not is_tile_of("32x64x128,4,2", PROGRAM)
    with pytest.raises(ValueError, match=r"rows x columns x depth.* such as 128x128x32,8,1; got '128x64,8,1'"):
        parse_tile("128x64,8,1", EXPERTS)


@pytest.mark.parametrize("name", sorted(TARGETS))
@pytest.mark.parametrize("like", [PROGRAM, EXPERTS])
def test_a_sweep_changes_nothing_but_the_tile(name: str, like: KernelProgram) -> None:
    made = every_tile(like, name)
    assert len(set(made)) == len(made) > 8
    assert {(one.tokens, one.dtype, one.component) for one in made} == {(like.tokens, like.dtype, like.component)}


def test_a_spill_is_a_fault_on_amd_and_a_remark_on_nvidia() -> None:
    spilled = dataclasses.replace(SOUND, vgpr_spills=None, scratch_bytes=144)
    assert not judge(spilled, TARGET).passes
    found = judge(spilled, target("sm_90"))
    assert found.passes and "spills registers to 144 bytes of stack a thread" in found.sentence
    assert "tensor cores: 64 of 300 PTX instructions" in found.sentence
