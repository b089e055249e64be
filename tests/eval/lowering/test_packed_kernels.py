"""Kernels that multiply by packed weights, compiled for cards that are not there: `make lower`."""

from __future__ import annotations

import pytest

from attention.kernels.matmul_tiles import few_row_tiles
from eval.lowering.compile import compile_for
from eval.lowering.kernel_programs import ExpertKernel, PackedRowsKernel, ProjectionKernel, launched_as, shipped_experts
from eval.lowering.nvidia import NVIDIA
from eval.lowering.report import own_kernels, read_result
from eval.lowering.target import target
from eval.lowering.toolchain import find_toolchain

pytestmark = pytest.mark.lower

CODINGS = pytest.mark.parametrize("coding", ["int4(32)", "fp8"])  # nibbles by groups, and bytes by rows
TARGETS = pytest.mark.parametrize("name", ["gfx1201", "sm_90"])


def few_experts(name: str, coding: str) -> ExpertKernel:
    """Of one token, with the tiles that ship for the deeper of its two products."""
    t = few_row_tiles(name, "bfloat16", 8, 2048, packed=True)
    return ExpertKernel(t.rows, t.least_rows, t.columns, t.depth, t.warps, t.stages, tokens=1, coding=coding)


def assert_sound(name: str, program) -> None:
    """No spill, in what memory there is, by the matrix units."""
    toolchain = find_toolchain(NVIDIA) if name.startswith("sm_") else find_toolchain()
    result = read_result(compile_for(program, target(name), toolchain))
    assert [one.sentence for one in result.verdicts if not one.passes] == []
    kernels = own_kernels(result)
    assert kernels and all(one.whole.matrix and not one.spills for one in kernels)
    assert all(one.lds_bytes <= target(name).lds_bytes for one in kernels)


@TARGETS
@CODINGS
def test_experts_are_sound_with_the_tiles_that_ship(name: str, coding: str) -> None:
    assert_sound(name, shipped_experts(name, 16_384, coding=coding))


@TARGETS
@CODINGS
def test_experts_of_one_token_are_sound(name: str, coding: str, request) -> None:
    if (name, coding) == ("gfx1201", "fp8"):
        reason = "the compiler's conversion from e4m3 keeps 68 bytes a lane on the stack"
        request.applymarker(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
    assert_sound(name, few_experts(name, coding))


@TARGETS
@CODINGS
def test_few_rows_of_projections_are_sound(name: str, coding: str) -> None:
    assert_sound(name, ProjectionKernel(1, coding=coding))


@TARGETS
@pytest.mark.parametrize("coding", ["int4(32)", "int8(64)", "q4_k"])
def test_single_rows_of_projections_are_sound(name: str, coding: str) -> None:
    """One kernel that spills nothing, without matrix units; the stacks are read as they lie."""
    toolchain = find_toolchain(NVIDIA) if name.startswith("sm_") else find_toolchain()
    [kernel] = read_result(compile_for(PackedRowsKernel(1, coding=coding), target(name), toolchain)).kernels
    assert launched_as(PackedRowsKernel.kernel, kernel.name) and not kernel.spills and not kernel.whole.matrix
