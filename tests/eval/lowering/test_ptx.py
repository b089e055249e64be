"""PTX as instructions: what belongs to which kernel, kinds, branches, and the products of the tensor cores."""

from __future__ import annotations

import pytest

from eval.lowering.loops import inner_loop, summarise
from eval.lowering.ptx import entries, instructions_of

HEAD = ".version 8.0\n.target sm_90a\n"
FIRST = """\
.visible .entry first(
\t.param .u64 .ptr .global .align 1 first_param_0
)
.reqntid 256, 1, 1
{
\t.reg .pred \t%p<3>;
\tld.param.b64 \t%rd1, [first_param_0];
\tmov.b32 \t%r1, 0;
$L__BB0_1:
\t// begin inline asm
\t@%p1 cp.async.cg.shared.global [ %r1 + 0 ], [ %rd1 + 0 ], 0x10;
\t// end inline asm
\twgmma.fence.sync.aligned;
\twgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 \t{%r5,%r6}, %rd3, %rd4, p, 1, 1, 0, 1;
\tldmatrix.sync.aligned.m8n8.x4.shared.b16 \t{%r7, %r8, %r9, %r10}, [%r1];
\tld.shared.v4.b32 \t{%r7, %r8, %r9, %r10}, [%r1];
\tld.shared.b16 \t%rs1, [%r1+2];
\t@!%p2 bra \t$L__BB0_1;
\tbra.uni \t$L__BB0_3;
$L__BB0_3:
\tst.global.b32 \t[%rd1], %r1;
\tret;
}
"""
SECOND = """\
.visible .entry second(
)
{
\tmma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 { %r1 }, { %r2 }, { %r3 }, { %r4 };
\tret;
}
"""


def test_each_kernel_has_its_text() -> None:
    found = entries(HEAD + FIRST + SECOND)
    assert found == {"first": HEAD + FIRST, "second": HEAD + SECOND}
    assert entries("") == entries(HEAD) == {}


def test_the_inner_loop_and_its_products() -> None:
    code = instructions_of(FIRST)
    loop = inner_loop(code)
    assert loop.kinds == {"memory": 1, "wait": 1, "matrix": 1, "lds_load": 3, "branch": 1}
    assert loop.lds_load_bits == {16: 1, 128: 2} and loop.narrow_lds_loads == 1
    assert loop.macs == 64 * 128 * 16 // 4  # four warps do it together
    assert summarise(code).instructions == 12


@pytest.mark.parametrize(("text", "macs"), [(SECOND, 16 * 8 * 16), (FIRST, 64 * 128 * 16 // 4)])
def test_products_are_those_of_a_warp(text: str, macs: int) -> None:
    assert summarise(instructions_of(text)).macs == macs
