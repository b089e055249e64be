"""Learned sinks against a softmax that has a column more, whoever computes the attention.

On a GPU: `pytest -m gpu tests/attention/test_sink_logits.py`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.kernels.block_routed import BlockChoice
from attention.mask import dense_mask
from attention.pattern import SpanPattern, Spans
from attention.sink_logits import with_sink_logits
from tests.gpu import TRITON_IS_LEAVING, close
from tests.operands import on_device

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

B, T, S, N, K, H = 2, 11, 17, 6, 3, 8
PATTERNS = {
    "full": SpanPattern(),
    "a window and first keys": SpanPattern((5,), (2,)),
    "a span a head": SpanPattern((1, 3, 7, 19, 2, 5), (0,)),
    "a span a query": Spans(np.arange(1, T + 1, dtype=np.int32)[None, None], np.zeros(1, np.int32)),
}


def operands(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    q, k, v = (on_device(rng.normal(size=(B, *shape)), dtype) for shape in ((T, N, H), (S, K, H), (S, K, H)))
    q_pos_bt = np.stack([np.arange(S - T, S), np.r_[np.arange(T - 2), -1, -1]]).astype(np.int32)
    return q, k, v, jnp.asarray(q_pos_bt), jnp.arange(S, dtype=jnp.int32)[None, None]


SINK_N = np.linspace(-3, 2, N).astype(np.float32)


def oracle(q, k, v, q_pos_bt, kv_pos_bks, pattern, sink_n=SINK_N):
    """The softmax written out in float64: exponentials of the visible scores over their sum and the sink's."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    n, h = q.shape[2:]
    mask_bnts = np.asarray(dense_mask(pattern, q_pos_bt, kv_pos_bks, n))
    k, v = (np.repeat(x, n // x.shape[2], axis=2) for x in (k, v))
    e_bnts = np.exp(np.einsum("btnh,bsnh->bnts", q, k) / h**0.5) * mask_bnts
    total_bnt = e_bnts.sum(-1) + np.exp(np.float64(sink_n))[:, None]
    return np.einsum("bnts,bsnh->btnh", e_bnts / total_bnt[..., None], v), np.log(total_bnt)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("impl", ["dense", "blockwise"])
def test_the_softmax_has_a_column_more(impl, pattern):
    """Two rows of queries, of which one ends in padding, which sees nothing."""
    found = jax.jit(lambda sink_n, *operands: with_sink_logits(partial(attend, impl=impl), sink_n)(
        *operands, PATTERNS[pattern]
    ))(SINK_N, *operands())  # fmt: skip
    out_btnh, lse_bnt = oracle(*operands(), PATTERNS[pattern])
    np.testing.assert_allclose(found.out_btnh, out_btnh, atol=1e-5)
    np.testing.assert_allclose(found.lse_bnt, lse_bnt, atol=1e-5)
    assert not found.out_btnh[1, -2:].any() and found.impl == (impl,)


def test_a_sink_far_below_is_none_and_one_far_above_is_all():
    for sink, share in ((-200.0, 1.0), (200.0, 0.0)):
        found = with_sink_logits(attend, jnp.full(N, sink))(*operands(), SpanPattern())
        chex.assert_trees_all_close(found.out_btnh, share * attend(*operands(), SpanPattern()).out_btnh, atol=1e-6)


def test_the_log_sum_exp_is_asked_for_even_where_nobody_wants_it():
    """A kernel gives it to those who ask."""

    def sparing(*operands, need_lse=False):
        found = attend(*operands, need_lse=need_lse)
        return found if need_lse else replace(found, lse_bnt=None)

    found = with_sink_logits(sparing, jnp.asarray(SINK_N))(*operands(), SpanPattern())
    np.testing.assert_allclose(found.out_btnh, oracle(*operands(), SpanPattern())[0], atol=1e-5)


def test_chosen_blocks_take_it_too():
    """Everything chosen is full attention."""
    found = with_sink_logits(partial(attend, impl="blockwise"), jnp.asarray(SINK_N))(*operands(), BlockChoice(4, 5))
    np.testing.assert_allclose(found.out_btnh, oracle(*operands(), SpanPattern())[0], atol=1e-5)


def test_short_floats_are_scaled_in_float32():
    found = with_sink_logits(attend, jnp.asarray(SINK_N, jnp.bfloat16))(*operands(jnp.bfloat16), SpanPattern())
    assert (found.out_btnh.dtype, found.lse_bnt.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(
        found.out_btnh.astype(jnp.float32), oracle(*operands(jnp.bfloat16), SpanPattern())[0], atol=2e-2
    )


@pytest.mark.parametrize("pattern", ["full", "a window and first keys"])
def test_the_gradient_is_that_of_the_column(pattern):
    """By central differences of the oracle, of the sinks and of the queries; padding has none, and no NaN."""
    q, k, v, q_pos_bt, kv_pos_bks = operands()
    weight = np.random.default_rng(1).normal(size=q.shape)
    rest = k, v, q_pos_bt, kv_pos_bks, PATTERNS[pattern]

    def loss(sink_n, q):
        return (with_sink_logits(partial(attend, impl="dense"), sink_n)(q, *rest).out_btnh * weight).sum()

    d_sink_n, d_q = jax.jit(jax.grad(loss, argnums=(0, 1)))(jnp.asarray(SINK_N), q)
    share_bnt = np.exp(SINK_N[:, None] - oracle(q, *rest)[1])
    wanted = -(share_bnt * (oracle(q, *rest)[0] * weight).sum(-1).swapaxes(1, 2)).sum((0, 2))
    np.testing.assert_allclose(d_sink_n, wanted, atol=1e-4)
    step, direction = 1e-4, np.random.default_rng(2).normal(size=q.shape)
    up, down = ((oracle(np.float64(q) + sign * step * direction, *rest)[0] * weight).sum() for sign in (1, -1))
    np.testing.assert_allclose((d_q * direction).sum(), (up - down) / (2 * step), rtol=1e-4)
    assert not d_q[1, -2:].any()


@pytest.mark.gpu
@pytest.mark.parametrize("pattern", [SpanPattern(), SpanPattern((128,))], ids=["full", "a window of 128"])
@pytest.mark.parametrize(("impl", "tokens"), [("mosaic", 397), ("pallas", 397), ("decode", 1), ("decode", 7)])
def test_compiled_kernels_with_sinks_are_the_softmax(impl, tokens, pattern):
    """gpt-oss's heads: of 64, in groups of 8, its windows; no length is a multiple of a tile."""
    slots, heads, kv_heads, h = 701, 24, 3, 64
    rng = np.random.default_rng(tokens)
    shapes = (tokens, heads, h), (slots, kv_heads, h), (slots, kv_heads, h)
    q, k, v = (on_device(rng.normal(size=(B, *shape)), jnp.bfloat16) for shape in shapes)
    sink_n = on_device(rng.permutation(np.linspace(0, 9, heads)), jnp.bfloat16)  # from a key's weight to all keys'
    positions = jnp.arange(slots - tokens, slots)[None], jnp.arange(slots)[None, None]

    def run(sink_n, *operands):
        return with_sink_logits(partial(attend, impl=impl, order="keys"), sink_n)(*operands, *positions, pattern)

    found = jax.jit(run)(sink_n, q, k, v)
    out_btnh, lse_bnt = oracle(q, k, v, *positions, pattern, sink_n)
    assert found.impl == (impl,) and close(found.out_btnh, out_btnh, 1e-2)
    np.testing.assert_allclose(found.lse_bnt, lse_bnt, atol=1e-2)
    without, _ = oracle(q, k, v, *positions, pattern, np.full(heads, -np.inf))
    assert not close(found.out_btnh, without, 0.1)
