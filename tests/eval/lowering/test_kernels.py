"""Launches and origins, read from the texts that XLA prints."""

from __future__ import annotations

from eval.cost.flops.hlo import parse_hlo
from eval.lowering.kernels import Launch, read_launches, read_origins

THUNKS = """\
002: kCustomKernel [source       | next=011 (9) ] loop_gather_fusion grid: [65536, 1, 1] threads: [128, 1, 1]  \
shared_memory: 0 bytes
011: kWhile        [prev=010 (1) | next=409 (1) ]
  body:
    013: kCustomKernel [source | sink] span_attention grid: [32, 7, 3] threads: [256, 1, 1]  shared_memory: 16384 bytes
    014: kCustomKernel [source | sink] loop_gather_fusion grid: [65536, 1, 1] threads: [128, 1, 1]  \
shared_memory: 0 bytes
"""

HLO = """\
HloModule jit_lowered_program, is_scheduled=true

%fused_dot (p0: bf16[5,7], p1: bf16[7,3]) -> f32[5,3] {
  %p0 = bf16[5,7]{1,0} parameter(0)
  %p1 = bf16[7,3]{1,0} parameter(1)
  ROOT %dot.1 = f32[5,3]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}, \
metadata={op_name="jit(f)/ffn/experts/dot_general"}
}

ENTRY %main (a: bf16[5,7], b: bf16[7,3]) -> f32[5,3] {
  %a = bf16[5,7]{1,0} parameter(0)
  %b = bf16[7,3]{1,0} parameter(1)
  %call.1 = f32[5,3]{1,0} custom-call(%a, %b), custom_call_target="__gpu$xla.gpu.triton", \
metadata={op_name="jit(f)/attn/attention/one"}, backend_config={grid_x = 32 : i32, grid_y = 7 : i32, grid_z = 3 : i32, \
name = "span_attention", num_stages = 1 : i32}
  %call.2 = f32[5,3]{1,0} custom-call(%a, %b), custom_call_target="__gpu$xla.gpu.triton", \
metadata={op_name="jit(f)/attn/attention/two"}, backend_config={grid_x = 8 : i32, grid_y = 7 : i32, grid_z = 3 : i32, \
name = "span_attention", num_stages = 1 : i32}
  ROOT %gemm_fusion.2 = f32[5,3]{1,0} fusion(%a, %b), kind=kCustom, calls=%fused_dot
}
"""


def test_launches() -> None:
    launches = read_launches(THUNKS)
    assert launches == {
        "loop_gather_fusion": Launch((65536, 1, 1), (128, 1, 1), 0),
        "span_attention": Launch((32, 7, 3), (256, 1, 1), 16384),
    }


def test_origins() -> None:
    origins = read_origins(parse_hlo(HLO))
    (gemm,) = origins["gemm_fusion_2"]
    assert gemm.products == ("bf16",)
    assert gemm.scope == "jit(f)/ffn/experts/dot_general"  # from inside, where the fusion has none of its own
    assert gemm.buffers == ("a bf16[5,7]", "b bf16[7,3]", "result f32[5,3]")
    assert [(one.grid, one.scope.rpartition("/")[2]) for one in origins["span_attention"]] == [
        ((32, 7, 3), "one"), ((8, 7, 3), "two"),
    ]  # fmt: skip
