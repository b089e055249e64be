"""The way back of the blockwise path, against the whole mask in float64; what it holds, and what it has no part of."""

from __future__ import annotations

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.kernels.blockwise import attend_blockwise
from attention.kernels.cover import Blocks
from attention.mask import dense_mask
from attention.pattern import UNBOUNDED, SpanPattern, Spans
from tests.attention.dense_gradients import dense_gradients
from tests.attention.span_problem import ORDERS, draw_operands
from tests.compiling import AS_USERS_DO
from tests.operands import on_device
from tests.strategies import problems

pytestmark = pytest.mark.usefixtures("fast_compile")


def pull(operands, pattern, blocks, d_out, d_lse):
    """Gradients of queries, keys and values."""
    floats, positions = operands[:3], operands[3:]

    def attended(*floats):
        found = attend_blockwise(*floats, *positions, pattern, blocks)
        return found.out_btnh, found.lse_bnt

    return jax.vjp(attended, *floats)[1]((d_out, d_lse))


static_pull = jax.jit(pull, static_argnums=(1, 2))
data_pull = jax.jit(pull, static_argnums=2)


def cotangents(q, seed: int):
    rng = np.random.default_rng(seed)
    b, t, n, _ = q.shape
    return on_device(rng.normal(size=q.shape)), on_device(rng.normal(size=(b, n, t)))


def relative(found, wanted):
    """Of each array, by its largest number."""
    return [np.abs(np.asarray(x) - y).max() / max(np.abs(y).max(), 1e-9) for x, y in zip(found, wanted, strict=True)]


def check(operands, pattern, blocks, seed):
    d_out, d_lse = cotangents(operands[0], seed)
    run = static_pull if isinstance(pattern, SpanPattern) else data_pull
    found = run(operands, pattern, blocks, d_out, d_lse)
    q_pos, kv_pos = map(np.asarray, operands[3:])
    mask = np.asarray(dense_mask(pattern, q_pos, kv_pos, operands[0].shape[2]))
    assert max(relative(found, dense_gradients(*operands[:3], mask, d_out, d_lse))) < 1e-5


@given(st.sampled_from(ORDERS), st.integers(0, 2**32 - 1))
def test_gradients_are_those_of_the_whole_mask(order, seed):
    """Positions of each head, empty slots and queries, and packed queries: a span each, of few values."""
    shape = 2, 67, 131, 2, 3, 7
    q, k, v, q_pos, kv_pos, _, _ = draw_operands(shape, 1, seed, order)
    rng = np.random.default_rng(seed)
    few = np.array([1, 29, UNBOUNDED])
    spans = Spans(*(on_device(x, np.int32) for x in (rng.choice(few, (2, 2, 67)), rng.integers(0, 9, 2), few)))
    check((q, k, v, q_pos[:, 0], kv_pos), spans, Blocks(16, 192), seed)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_gradients_of_one_walk_are_those_of_the_whole_mask(seed):
    """All rows and heads together; spans and sinks differ within a group."""
    q, k, v, q_pos, kv_pos, _, _ = draw_operands((2, 139, 211, 1, 2, 5), 1, seed, "gaps")
    check((q, k, v, q_pos[:1, 0], kv_pos[:1, :1]), SpanPattern((13, 67), (0, 3)), None, seed)


@pytest.mark.slow
@settings(max_examples=8)
@given(problems(), st.sampled_from((None, Blocks(8, 64), Blocks(16, 192))), st.integers(0, 99))
def test_gradients_of_any_problem_are_those_of_the_whole_mask(problem, blocks, seed):
    check(problem.operands(), problem.pattern, blocks, seed)


def test_nobody_who_sees_nothing_has_a_gradient():
    """Not even of a log-sum-exp of -inf, whose cotangent is no number."""
    q, k, v, *_ = draw_operands((1, 3, 5, 1, 2, 7), 1, 0, "in a row")
    positions = jnp.array([[-1, 0, 9]]), jnp.array([[[1, 2, -1, 3, 4]]])
    d_out, d_lse = jnp.ones(q.shape), jnp.array([[[jnp.nan, jnp.inf, 1], [jnp.nan, -jnp.inf, 1]]])
    dq, dk, dv = data_pull(
        (q, k, v, *positions), Spans(jnp.array([[[9]]]), jnp.array([0])), Blocks(8, 64), d_out, d_lse
    )
    chex.assert_tree_all_finite((dq, dk, dv))
    assert not dq[:, :2].any() and dq[:, 2].any()
    assert not dk[:, 2].any() and not dv[:, 2].any()


@pytest.mark.slow
def test_bfloat16_is_near_and_keeps_its_dtype():
    operands = draw_operands((1, 67, 131, 2, 3, 16), 1, 0, "in a row", jnp.bfloat16)[:5]
    q, k, v, q_pos, kv_pos = operands
    pattern, (d_out, d_lse) = SpanPattern((29,), (3,)), cotangents(q, 0)
    operands, d_out = (q, k, v, q_pos[:, 0], kv_pos), d_out.astype(q.dtype)
    found = static_pull(operands, pattern, None, d_out, d_lse)
    assert {x.dtype for x in found} == {jnp.dtype(jnp.bfloat16)}
    mask = dense_mask(pattern, np.asarray(q_pos[:, 0]), np.asarray(kv_pos), 6)
    wanted = dense_gradients(*(x.astype(jnp.float32) for x in operands[:3]), mask, d_out.astype(jnp.float32), d_lse)
    assert max(relative([x.astype(jnp.float32) for x in found], wanted)) < 2e-2


def gradient(tokens: int):
    """Of the sum of squares, through a window and sinks."""
    position = np.arange(tokens)

    def loss(q, k, v):
        return (
            attend_blockwise(q, k, v, position[None], position[None, None], SpanPattern((64,), (4,))).out_btnh ** 2
        ).sum()

    shapes = [jax.ShapeDtypeStruct((1, tokens, heads, 16), jnp.float32) for heads in (4, 2, 2)]
    return jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*shapes)


@pytest.mark.slow
def test_memory_is_linear_in_the_prompt():
    held = [gradient(tokens).compile(AS_USERS_DO).memory_analysis().temp_size_in_bytes for tokens in (1024, 2048, 4096)]
    assert all(long <= 2.2 * short for short, long in itertools.pairwise(held))


def test_forward_mode_is_refused():
    one = jnp.ones((1, 2, 1, 4))
    positions = np.arange(2)[None], np.arange(2)[None, None]

    def slope(q):
        return jax.jvp(lambda q: attend_blockwise(q, one, one, *positions, SpanPattern()).out_btnh, (q,), (q,))

    with pytest.raises(TypeError, match="forward-mode"):
        jax.jit(slope)(one)
