"""The kernel under a pattern, packing included: interpreted on a CPU, compiled on a GPU; and who is chosen to run."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.kernels.pallas_spans import attend_pallas_spans
from attention.kernels.target import current_target, is_gpu
from attention.kernels.tiles import AttentionTiles
from attention.pattern import UNBOUNDED, SpanPattern, Spans, visible_pairs
from tests.attention.dense_oracle import attend_dense
from tests.gpu import TRITON_IS_LEAVING, close
from tests.operands import on_device

pytestmark = TRITON_IS_LEAVING

SMALL = AttentionTiles(16, 16, 4, 1)
SPANS = np.array([3, 17, UNBOUNDED], np.int32)
TOKENS, HEADS, KV_HEADS, HEAD_DIM = 53, 6, 2, 16


def problem(tokens=TOKENS, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD_DIM, dtype=jnp.float32, batch=1):
    rng = np.random.default_rng(0)
    shapes = [(batch, tokens, n, head_dim) for n in (heads, kv_heads, kv_heads)]
    pos_t = jnp.arange(tokens, dtype=jnp.int32)
    return *(on_device(rng.normal(size=shape), dtype) for shape in shapes), pos_t[None], pos_t[None, None]


def routed(units: int, rows: int, tokens: int = TOKENS) -> Spans:
    route_bmt = np.random.default_rng(1).integers(len(SPANS), size=(rows, units, tokens))
    return Spans(jnp.asarray(SPANS[route_bmt]), jnp.asarray([2], jnp.int32), SPANS)


def interpreted(*operands):
    """Compiled with the pattern it closes over: operation by operation it takes several times as long."""
    *arrays, pattern = operands
    attend_spans = partial(attend_pallas_spans, pattern=pattern, return_lse=True, tiles=SMALL, interpret=True)
    return jax.jit(attend_spans)(*arrays)


@pytest.mark.parametrize(("units", "rows"), [(1, 1), (KV_HEADS, 1), (HEADS, 1), (1, 2), (KV_HEADS, 2)])
def test_packed_queries_get_what_they_would_in_place(units, rows, fast_compile):
    operands = *problem(batch=2), routed(units, rows)
    found = interpreted(*operands)
    out_btnh, lse_bnt = attend_dense(*operands)
    chex.assert_trees_all_close((found.out_btnh, found.lse_bnt), (out_btnh, lse_bnt), atol=2e-5)


@pytest.mark.parametrize(
    "pattern", [SpanPattern(), SpanPattern((7,), (2,)), SpanPattern((3, 29)), SpanPattern((3, 5, 7, 11, 13, 60))]
)
def test_static_patterns(pattern, fast_compile):
    found = interpreted(*problem(), pattern)
    chex.assert_trees_all_close((found.out_btnh, found.lse_bnt), attend_dense(*problem(), pattern), atol=2e-5)


def test_packing_visits_less_than_neighbours_would(fast_compile):
    """Without `span_e` the queries stay in place, and every tile looks as far as its farthest query."""
    spans = Spans(*routed(1, 1, 331)[:2], SPANS)
    packed, in_place = (
        int(interpreted(*problem(331), pattern).visited) for pattern in (spans, spans._replace(span_e=None))
    )
    assert packed < in_place


def test_visited_pairs_hold_the_visible_ones(fast_compile):
    pattern = SpanPattern((7,))
    visited = int(interpreted(*problem(331), pattern).visited)
    assert visible_pairs(pattern, HEADS, 331, 0) <= visited < HEADS * 331**2 / 4


@pytest.mark.gpu
@pytest.mark.parametrize("impl", ["auto", "pallas"])
@pytest.mark.parametrize("pattern", [SpanPattern(), SpanPattern((300,)), SpanPattern((300,), (4,)), routed(1, 1, 1531)])
def test_attend_on_a_gpu_is_the_oracle(impl, pattern):
    q, k, v, *positions = problem(1531, 32, 4, 128, jnp.bfloat16)
    exact = attend_dense(*(x.astype(jnp.float32) for x in (q, k, v)), *positions, pattern)[0]
    assert close(attend(q, k, v, *positions, pattern, impl=impl, order="prompt").out_btnh, exact, 1e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("units", [1, 4, 32])
def test_routes_of_heads_on_a_gpu(units):
    q, k, v, *positions = problem(1531, 32, 4, 128, jnp.bfloat16)
    pattern = routed(units, 1, 1531)
    exact = attend_dense(*(x.astype(jnp.float32) for x in (q, k, v)), *positions, pattern)[0]
    assert close(attend(q, k, v, *positions, pattern, impl="pallas").out_btnh, exact, 1e-2)
    assert is_gpu(current_target())
