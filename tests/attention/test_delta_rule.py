"""The gated delta rule: chunk by chunk, token by token and in NumPy's float64 are one function."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from attention.kernels.delta_rule import MOST_RECURRENT, chunk_of, executed_flops, gated_delta_rule
from eval.cost.flops.traced import count_flops

pytestmark = pytest.mark.usefixtures("fast_compile")

HEADS = ((1, 1, 5, 3), (3, 3, 7, 5), (2, 6, 5, 11), (3, 6, 2, 7))  # N, M, H, Hv


def reference(q, k, v, g, beta, state):
    """The definition, a token, row and head at a time."""
    out, state = np.zeros(v.shape), np.array(state, np.float64)
    group = v.shape[2] // k.shape[2]
    for b, t, m in np.ndindex(*v.shape[:3]):
        s, key, query = state[b, m], k[b, t, m // group], q[b, t, m // group]
        s *= np.exp(np.float64(g[b, t, m]))
        s += np.outer(key, beta[b, t, m] * (v[b, t, m] - s.T @ key))
        out[b, t, m] = s.T @ query
    return out, state


def drawn(heads, tokens: int, decay: str, seed: int, batch: int = 2):
    """Operands: decays near 1, near 0, both in turns, or as a trained layer has them."""
    n, m, h, hv = heads
    rng = np.random.default_rng(seed)
    q, k = (rng.normal(size=(batch, tokens, n, h)) for _ in "qk")
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    spread = rng.random((batch, tokens, m))
    strong = {"near 1": 0, "near 0": 1, "mixed": spread > 0.8, "usual": 0}[decay]
    g = np.where(strong, -300 * rng.random(spread.shape), -1e-3 * spread if decay != "usual" else -3 * spread**4)
    v, state = rng.normal(size=(batch, tokens, m, hv)), rng.normal(size=(batch, m, h, hv))
    beta = rng.random((batch, tokens, m))
    return [np.asarray(x, np.float32) for x in (q * h**-0.5, k, v, g, beta, state)]


run = jax.jit(gated_delta_rule, static_argnames="chunk_tokens")


def one_by_one(*operands):
    """The recurrent form, whatever the length."""

    def token(state, rows):
        out, state = gated_delta_rule(*(x[:, None] for x in rows), state)
        return state, out[:, 0]

    *rows, state = operands
    state, out = lax.scan(token, state, tuple(jnp.moveaxis(x, 1, 0) for x in rows))
    return jnp.moveaxis(out, 0, 1), state


@settings(max_examples=8)
@given(
    st.sampled_from(HEADS), st.sampled_from((1, 3, 5, 31, 64, 65, 129)),
    st.sampled_from(("near 1", "near 0", "mixed", "usual")), st.integers(0, 99),
)  # fmt: skip
@example(HEADS[2], 129, "mixed", 0)
@example(HEADS[2], 129, "near 1", 1)
def test_chunks_are_the_recurrence(heads, tokens, decay, seed):
    operands = drawn(heads, tokens, decay, seed)
    expected = reference(*operands)
    chex.assert_trees_all_close(run(*operands), tuple(x.astype(np.float32) for x in expected), atol=2e-5)
    chex.assert_trees_all_close(one_by_one(*operands), tuple(x.astype(np.float32) for x in expected), atol=2e-5)


@pytest.mark.slow
def test_drawn_cases_are_those_of_float64(share):
    """500, or as many as `--cases` says: rates of 0 and 1, keys that repeat and keys of zeros among them."""
    for i in range(share.count(500)):
        rng = np.random.default_rng([28 + share.number, i])
        lengths, decays = (3, 31, 64, 129), ("near 1", "near 0", "mixed", "usual")
        q, k, v, g, beta, state = drawn(HEADS[i % len(HEADS)], rng.choice(lengths), rng.choice(decays), [share.seed, i])
        if rng.random() < 0.3:
            beta = np.where(rng.random(beta.shape) < 0.5, np.round(beta), beta)
        if rng.random() < 0.3:  # the same key again and again, or none
            k = np.where(rng.random(k.shape[:3])[..., None] < 0.6, k[:, :1] * rng.integers(0, 2), k)
        operands = q, k, v, g, beta, state
        expected = reference(*operands)
        for found, wanted in zip(run(*operands), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=2e-5, rtol=2e-6, err_msg=f"share {share}, case {i}")


@pytest.mark.parametrize("chunk", [2, 128])
def test_chunks_of_any_length_give_the_same(chunk):
    operands = drawn(HEADS[3], 77, "mixed", 3)
    chex.assert_trees_all_close(run(*operands, chunk_tokens=chunk), run(*operands), atol=2e-5)


def test_a_state_goes_on_wherever_a_sequence_is_cut():
    *tokens, state = drawn(HEADS[1], 101, "usual", 4)
    whole = run(*tokens, state)
    outs, start = [], 0
    for end in (1, 4, 76, 101):
        out, state = run(*(x[:, start:end] for x in tokens), state)
        outs.append(out)
        start = end
    chex.assert_trees_all_close((jnp.concatenate(outs, 1), state), whole, atol=2e-5)


@pytest.mark.parametrize("place", [0, 63, 64])
def test_a_later_token_changes_no_earlier_bit(place):
    *tokens, state = drawn(HEADS[2], 100, "mixed", 5)
    changed = [x.copy() for x in tokens]
    for x in changed:
        x[:, place] *= 0.5
    before, after = run(*tokens, state)[0], run(*changed, state)[0]
    np.testing.assert_array_equal(before[:, :place], after[:, :place])
    assert (before[:, place] != after[:, place]).any()


@pytest.mark.parametrize("tokens", [MOST_RECURRENT, 77])
def test_padding_anywhere_changes_nothing(tokens):
    *rows, state = drawn(HEADS[2], tokens, "usual", 6)
    real = np.sort(np.random.default_rng(7).permutation(tokens + 13)[:tokens])
    padded = [np.full((x.shape[0], tokens + 13, *x.shape[2:]), 0.7, np.float32) for x in rows]
    padded[3][:], padded[4][:] = 0, 0
    for wide, x in zip(padded, rows, strict=True):
        wide[:, real] = x
    out, after = run(*padded, state)
    chex.assert_trees_all_close((out[:, real], after), run(*rows, state), atol=1e-5)


def test_gradients_of_the_chunks_are_those_of_the_recurrence():
    operands = [jnp.asarray(x) for x in drawn(HEADS[3], 70, "usual", 8)]

    def gradient(form):
        def loss(*operands):
            out, state = form(*operands)
            return jnp.sin(out).sum() + jnp.cos(state).sum()

        return jax.jit(jax.grad(loss, argnums=tuple(range(6))))(*operands)

    chex.assert_trees_all_close(gradient(gated_delta_rule), gradient(one_by_one), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("tokens", [1, 4, 5, 16, 64, 65, 200])
@pytest.mark.parametrize("heads", HEADS)
def test_what_is_executed_is_what_is_traced(heads, tokens):
    assert executed_flops(tokens, *heads) == count_flops(gated_delta_rule, *drawn(heads, tokens, "usual", 0, 1)).total


def test_sizes_of_chunks():
    assert [chunk_of(n) for n in (1, 4, 5, 8, 9, 33, 64, 65, 1000)] == [1, 1, 8, 8, 16, 64, 64, 64, 64]


def test_bfloat16_values_come_back_as_such_from_a_float32_state():
    q, k, v, *rest = drawn(HEADS[0], 9, "usual", 9)
    out, state = run(*(jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)), *rest)
    assert (out.dtype, state.dtype) == (jnp.bfloat16, jnp.float32)


@pytest.mark.parametrize(
    ("heads", "chunk", "message"),
    [((2, 3, 5, 7), 64, "3 value heads are no multiple of 2 key heads"),
     (HEADS[0], 48, "a power of two from 2 on, got 48")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(heads, chunk, message):
    with pytest.raises(ValueError, match=message):
        run(*drawn(heads, 9, "usual", 0), chunk_tokens=chunk)
