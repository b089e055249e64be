"""The kernels for few queries against the dense oracle: interpreted on a CPU, compiled on a GPU."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.attend import attend, choose_impl
from attention.kernels.pallas_decode import attend_decode
from attention.kernels.tiles import DecodeTiles
from attention.pattern import SpanPattern, Spans
from attention.stacked import Beside, LayerOf, as_array
from tests.attention.dense_oracle import attend_dense
from tests.attention.span_problem import ORDERS, draw_operands
from tests.gpu import TRITON_IS_LEAVING, close

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

SMALL = DecodeTiles(keys=16, programs=12, warps=4, stages=1)
LAYER = 1


def problem(shape, seed, order, span_heads, dtype=jnp.float32):
    """q, a layer of stacks of keys and values, positions [B, T] and [B, K, S], and spans of each query."""
    q, k, v, q_pos, kv_pos, span, sink = draw_operands(shape, span_heads, seed, order, dtype)
    others = jnp.full_like(k, jnp.nan)
    stacks = (LayerOf(jnp.stack([others, x, others]), jnp.int32(LAYER)) for x in (k, v))
    return (q, *stacks, q_pos[:, 0], kv_pos, Spans(span, sink)), (q, k, v, q_pos[:, 0], kv_pos, Spans(span, sink))


@partial(jax.jit, static_argnames=("tiles", "interpret"))
def run(operands, tiles=SMALL, interpret=True):
    return attend_decode(*operands, tiles=tiles, interpret=interpret)


@settings(max_examples=24)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(ORDERS),
    st.sampled_from([(1, 1, 37, 3, 2, 16), (2, 3, 211, 2, 5, 16), (3, 1, 5, 1, 7, 16), (1, 19, 83, 2, 1, 16)]),
    st.integers(0, 2),
)
def test_interpreted_kernels_are_the_oracle(seed, order, shape, heads):
    """Any order of slots, empty ones, padded queries, and spans per head, group or layer, in a layer of a stack."""
    operands, plain = problem(shape, seed, order, (1, shape[3], shape[3] * shape[4])[heads])
    found = run(operands)
    chex.assert_trees_all_close((found.out_btnh, found.lse_bnt), attend_dense(*plain), atol=2e-5)


@pytest.mark.parametrize(("t", "beside"), [(1, False), (3, False), (1, True)])
def test_gradients_are_those_of_the_oracle(t, beside):
    (q, k, v, *rest), _ = problem((1, t, 37, 2, 3, 16), 0, "gaps", 1)
    k, v = (LayerOf(jnp.nan_to_num(x.stack), x.layer) for x in (k, v))
    if beside:
        q_pos, kv_pos, spans = rest
        own_k, own_v = jax.random.normal(jax.random.key(1), (2, 1, 1, 2, 16))
        older = LayerOf(jnp.where(kv_pos >= q_pos[:, None], -1, kv_pos)[None], jnp.int32(0))
        k, v, rest = (
            Beside(k, own_k),
            Beside(v, own_v),
            (q_pos, Beside(older, jnp.broadcast_to(q_pos[:, None], (1, 2, 1))), spans),
        )

    def loss(attend, q, k, v):
        found = attend(q, k, v, *rest)
        out_btnh, lse_bnt = (found.out_btnh, found.lse_bnt) if hasattr(found, "out_btnh") else found
        return jnp.sin(out_btnh).sum() + jnp.where(jnp.isfinite(lse_bnt), lse_bnt, 0).sum()

    def dense(q, k, v, q_pos, kv_pos, spans):
        return attend_dense(q, k.read(), v.read(), q_pos, as_array(kv_pos), spans)

    kernel = partial(attend_decode, tiles=SMALL, interpret=True)
    found, wanted = (jax.jit(jax.grad(partial(loss, one), allow_int=True))(q, k, v) for one in (kernel, dense))
    chex.assert_trees_all_close(found, wanted, atol=1e-5)


@settings(max_examples=16)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(ORDERS),
    st.sampled_from([(1, 1, 37, 3, 2, 16), (2, 1, 211, 2, 5, 16), (3, 1, 5, 1, 7, 16)]),
    st.booleans(),
    st.integers(0, 2),
)
def test_a_token_beside_the_stack_is_a_slot_more(seed, order, shape, padded, heads):
    """Whatever the slots hold, also where a row sees none of them; and nothing where the row is padding."""
    (q, k, v, q_pos, kv_pos, spans), _ = problem(shape, seed, order, (1, shape[3], shape[3] * shape[4])[heads])
    q_pos = jnp.where(jnp.asarray([padded] + [False] * (shape[0] - 1))[:, None], -1, jnp.maximum(q_pos, 0))
    b, _, n_kv, h = shape[0], 0, shape[3], shape[5]
    own_k, own_v = jax.random.normal(jax.random.key(seed % 2**31), (2, b, 1, n_kv, h))
    kv_pos = jnp.where(kv_pos >= q_pos[:, None], -1, kv_pos)  # it is the newest
    own_pos = jnp.broadcast_to(q_pos[:, None], (*kv_pos.shape[:2], 1))
    positions = Beside(LayerOf(jnp.stack([kv_pos + 1, kv_pos]), jnp.int32(LAYER)), own_pos)
    beside = Beside(k, own_k), Beside(v, own_v)
    found = run((q, *beside, q_pos, positions, spans))
    wanted = attend_dense(q, *(x.read() for x in beside), q_pos, positions.read(), spans)
    chex.assert_trees_all_close((found.out_btnh, found.lse_bnt), wanted, atol=2e-5)
    assert int(found.visited) % (16 * 16) == b * q.shape[2] % (16 * 16)
    for x in (*beside, positions):
        assert (x.shape, x.size) == (x.read().shape, x.read().size)


def test_what_is_read_follows_from_what_is_seen():
    """A window of a cache that holds everything is read where it lies, and the rest of the cache is not."""
    q, k, v = (jnp.ones((1, n, 2, 16)) for n in (1, 997, 997))
    pos = jnp.arange(997, dtype=jnp.int32)
    for pattern, tiles in ((SpanPattern(), 63), (SpanPattern((33,)), 3), (SpanPattern((33,), (4,)), 3 + 1)):
        operands = q, k, v, jnp.asarray([[996]]), pos[None, None], pattern
        assert int(attend_decode(*operands, tiles=SMALL, interpret=True).visited) == 2 * 16 * 16 * tiles


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(1, 1, 33_000, 4, 8, 128), (3, 2, 5_003, 2, 5, 64), (2, 4, 2_111, 1, 16, 256)])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_compiled_kernels_are_the_oracle(shape, order, dtype):
    operands, plain = problem(shape, 0, order, shape[3] * shape[4], dtype)
    assert choose_impl(*operands[:2], operands[-1]) == "decode"
    found, again = (jax.jit(attend)(*operands) for _ in range(2))
    out_btnh, lse_bnt = attend_dense(*(x.astype(jnp.float32) for x in plain[:3]), *plain[3:])
    assert close(found.out_btnh, out_btnh, 1e-2 if dtype == jnp.bfloat16 else 1e-4)
    chex.assert_trees_all_close(found.lse_bnt, lse_bnt, atol=1e-3)
    chex.assert_trees_all_equal(found.out_btnh, again.out_btnh)
