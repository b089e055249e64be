"""Pallas kernels: traced by the tiles that they will visit, and found again in the compiled program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.kernels.pallas_attention import attend_pallas
from attention.kernels.tiles import AttentionTiles
from eval.cost.flops.annotations import NeedsValue
from eval.cost.flops.compiled import count_hlo
from eval.cost.flops.traced import count_flops
from tests.operands import on_device

TILES = AttentionTiles(16, 32, 4, 1)
HLO = """HloModule m
%body (p: (s32[], f32[5,3])) -> (s32[], f32[5,3]) {
  %p = (s32[], f32[5,3]{1,0}) parameter(0)
  ROOT %call.1 = (s32[], f32[5,3]{1,0}) custom-call(%p), custom_call_target="__gpu$xla.gpu.triton", \
metadata={op_name="jit(f)/attn/attention/walk"}, \
backend_config={grid_x = 32 : i32, name = "span_attention", num_stages = 1}
}

%cond (p: (s32[], f32[5,3])) -> pred[] {
  %p = (s32[], f32[5,3]{1,0}) parameter(0)
  ROOT %lt = pred[] constant(true)
}

ENTRY %main (a: (s32[], f32[5,3])) -> (s32[], f32[5,3]) {
  %a = (s32[], f32[5,3]{1,0}) parameter(0)
  ROOT %while.1 = (s32[], f32[5,3]{1,0}) while(%a), condition=%cond, body=%body, \
backend_config={"known_trip_count":{"n":"6"}}
}
"""


@pytest.mark.parametrize(("heads", "span"), [((4, 2), 61), ((3, 3), 2**31 - 1), ((4, 1), 7)])
def test_traced_tiles_are_those_that_the_kernel_visits(heads, span, fast_compile) -> None:
    (n, k), t, h = heads, 139, 16
    position = jnp.arange(t)[None, None]
    rng = np.random.default_rng(span)
    q, key, value = (on_device(rng.normal(size=(2, t, m, h))) for m in (n, k, k))

    def run(q, key, value, position=position):
        spans = jnp.full((1, 1, 1), span), jnp.full(1, 3)
        return attend_pallas(q, key, value, position, position, *spans, tiles=TILES, interpret=True)

    visited = int(jax.jit(run)(q, key, value)[2])
    counted = count_flops(run, q, key, value)
    assert counted.total == visited * 4 * TILES.rows * TILES.keys * h
    assert counted.kernels == {"span_attention": (1, counted.total)}
    with pytest.raises(NeedsValue, match="close over them"):
        count_flops(run, q, key, value, position)


def test_a_triton_call_is_counted_as_often_as_it_is_compiled() -> None:
    counted = count_hlo(HLO, kernels={"span_attention": (3, 3000)})
    assert counted.by_scope == {"jit(f)/attn/attention/walk": 6000} and counted.unseen_calls == ()
    assert count_hlo(HLO).unseen_calls == ("__gpu$xla.gpu.triton",)
