"""One rule for one-shot prefill, chunked prefill and decode: what holds for every policy."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.attend import attend
from attention.cost import ONLY_LAYER, Heads
from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.eviction.chunks import attend_in_chunks
from attention.eviction.registry import POLICIES
from attention.pattern import SpanPattern
from tests.attention.eviction.references import simulate
from tests.attention.eviction.strategies import (
    THETA,
    Tokens,
    allowed_steps,
    evictions,
    held,
    random_tokens,
    run,
    tokens,
)
from tests.compiling import AS_USERS_DO

pytestmark = pytest.mark.usefixtures("fast_compile")


TOKENS = 33


def small(policy: str) -> Evict:
    return Evict(POLICIES[policy](), budget=11, chunk=7, sinks=2, recent=3)


@settings(max_examples=4)
@given(st.data())
def test_any_allowed_steps_are_one_shot(data):
    eviction = data.draw(st.sampled_from(sorted(POLICIES)).flatmap(evictions))
    problem = data.draw(tokens(least=1, most=37))
    steps = data.draw(allowed_steps(problem.q.shape[1], eviction.chunk))
    out, kept = run(eviction, problem)
    out_steps, kept_steps = run(eviction, problem, steps)
    assert held(kept) == held(kept_steps)
    chex.assert_trees_all_close(out_steps, out, atol=2e-5, rtol=0)


@pytest.mark.parametrize("policy", POLICIES)
def test_prefill_in_chunks_then_decode_is_one_shot(policy):
    """Every prefix too, since the first step is one."""
    problem = random_tokens(3, 2, TOKENS, 6, 2, 4)
    out, kept = run(small(policy), problem)
    out_steps, kept_steps = run(small(policy), problem, (21, *[1] * (TOKENS - 21)))
    assert held(kept) == held(kept_steps)
    chex.assert_trees_all_close(out_steps, out, atol=2e-5, rtol=0)


@pytest.mark.parametrize("policy", ["h2o", "adakv", "pyramidkv"])
def test_the_blockwise_path_keeps_and_sees_the_same(policy):
    eviction = Evict(POLICIES[policy](), budget=83, chunk=71, sinks=2, recent=9)
    problem = random_tokens(5, 2, 301, 6, 2, 8)
    out, kept = run(eviction, problem, layer=1, n_layers=3)
    blockwise, kept_blockwise = run(eviction, problem, layer=1, n_layers=3, impl="blockwise")
    assert held(kept) == held(kept_blockwise)
    chex.assert_trees_all_close(blockwise, out, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    "eviction",
    [
        *map(small, POLICIES),
        *(EvictAfter(POLICIES[one](), 11, 2, 3) for one in ("snapkv", "h2o", "expected_attention")),
    ],
    ids=str,
)
def test_a_later_token_changes_nothing_before_it(eviction):
    problem, changed = random_tokens(7, 2, TOKENS, 6, 2, 4), 17
    out, _ = run(eviction, problem)
    edited = Tokens(*(x.copy() for x in problem))
    for x in edited:
        x[:, changed] = 5 - 3 * x[:, changed]
    out_edited, _ = run(eviction, edited)
    np.testing.assert_array_equal(out[:, :changed], out_edited[:, :changed])
    assert (out[:, changed:] != out_edited[:, changed:]).any()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_budget_of_the_prompt_is_full_attention(policy):
    budget = TOKENS if policy != "pyramidkv" else 20 * TOKENS  # its last layer gets a 20th
    check_full(Evict(POLICIES[policy](), budget=budget, chunk=64, sinks=2, recent=3), atol=0)


def test_a_budget_of_the_prompt_is_full_attention_in_chunks():
    check_full(Evict(POLICIES["h2o"](), budget=TOKENS, chunk=7), atol=2e-6)


def check_full(eviction, atol):
    problem, position = random_tokens(11, 2, TOKENS, 6, 2, 4), jnp.arange(TOKENS)
    full = jax.jit(lambda *xs: attend(*xs, SpanPattern(), impl="dense"))(*problem, position[None], position[None, None])
    full = full.out_btnh
    out, kept = run(eviction, problem)
    assert kept.positions.shape[-1] == TOKENS
    np.testing.assert_allclose(out, full, atol=atol)


@settings(max_examples=3)
@given(evictions("h2o"), tokens())
def test_the_mass_of_a_key_travels_with_it(eviction, tokens):
    """The score of what is held, in whatever slot, is what the reference adds up for that position."""
    _, kept = run(eviction, tokens)
    mass, positions = np.asarray(kept.state.by_slot), np.asarray(kept.positions)
    assert (mass[positions < 0] == 0).all()
    q, k, _ = (x.astype(np.float64) for x in tokens)
    batch, length, n_kv_heads = k.shape[:3]
    group = q.shape[2] // n_kv_heads
    # The reference's probabilities, read through values that are one-hot.
    for row in range(batch):
        one_hot = np.repeat(np.eye(length)[:, None], n_kv_heads, axis=1)
        # h2o does not read values, so what is held stays the same
        probabilities, expected = simulate(eviction, q[row], k[row], one_hot)
        received = probabilities.reshape(length, n_kv_heads, group, length).sum((0, 2))
        for head, at in enumerate(expected):
            where = positions[row, head] >= 0
            np.testing.assert_array_equal(positions[row, head][where], at)
            np.testing.assert_allclose(mass[row, head][where], received[head][at], rtol=2e-5)


def step(eviction, problem, length, positions, capacity=64, length_is_known=False, **options):
    batch, _, n_heads, head_dim = problem.q.shape
    kept = eviction.init_state(Heads(n_heads, problem.k.shape[2], head_dim), batch, capacity, jnp.float32)
    run_step = partial(attend_in_chunks, eviction, partial(attend, impl="dense"))

    def call(kept, problem, length):
        attended, new = run_step(kept, *problem, positions, length, ONLY_LAYER, **options)
        return attended.out_btnh, new

    return (call if length_is_known else jax.jit(call))(kept, Tokens(*map(jnp.asarray, problem)), length)


@pytest.mark.parametrize(("length", "size", "fits"), [(0, 20, True), (14, 8, True), (9, 5, True), (9, 6, False)])
def test_a_step_across_the_end_of_its_chunk_is_nan_or_an_error(length, size, fits):
    """Nor does a later step that fits look sound: what is kept is spoilt."""
    eviction, problem = small("knorm"), random_tokens(0, 1, size, 2, 1, 4)
    positions = length + jnp.arange(size)[None]
    out, kept = step(eviction, problem, jnp.int32(length), positions)
    assert np.isnan(out).all() == (not fits) == np.isnan(out).any() == np.isnan(kept.values).all()
    if not fits:
        with pytest.raises(ValueError, match=r"6 tokens after 9, with chunk=7"):
            step(eviction, problem, length, positions, length_is_known=True)


def test_positions_with_gaps_are_nan():
    problem = random_tokens(0, 1, 3, 2, 1, 4)
    out, _ = step(small("knorm"), problem, jnp.int32(0), jnp.asarray([[0, 1, 3]]))
    assert np.isnan(out).all()


def test_more_tokens_than_the_capacity_are_nan_or_an_error():
    eviction, problem = small("knorm"), random_tokens(0, 1, 3, 2, 1, 4)
    out, _ = step(eviction, problem, jnp.int32(9), 9 + jnp.arange(3)[None], capacity=11)
    assert np.isnan(out).all()
    with pytest.raises(ValueError, match="3 tokens at once do not fit the 2 slots"):
        step(eviction, problem, jnp.int32(0), jnp.arange(3)[None], capacity=2)


def test_rows_share_their_length_and_a_policy_has_what_it_needs():
    problem = random_tokens(0, 2, 3, 2, 1, 4)
    with pytest.raises(ValueError, match=r"rows of one length.*\(1, 3\), got \(2, 3\)"):
        step(small("knorm"), problem, jnp.int32(0), jnp.arange(3)[None].repeat(2, axis=0))
    with pytest.raises(ValueError, match=r"expected_attention .* needs rope_theta"):
        step(small("expected_attention"), problem, jnp.int32(0), jnp.arange(3)[None])
    step(small("expected_attention"), problem, jnp.int32(0), jnp.arange(3)[None], rope_theta=THETA)


def test_memory_beside_the_step_does_not_grow_with_the_prompt():
    """Slots are B + C whatever the capacity, and the program's temporaries grow as the step's own tokens do."""
    eviction = Evict(POLICIES["h2o"](), budget=64, chunk=64, sinks=4, recent=8)

    def temporaries(tokens: int) -> int:
        kept = jax.eval_shape(lambda: eviction.init_state(Heads(4, 2, 8), 1, tokens, jnp.float32))
        assert kept.positions.shape == (1, 2, 128)
        q, kv = (jax.ShapeDtypeStruct((1, tokens, heads, 8), jnp.float32) for heads in (4, 2))
        call = partial(attend_in_chunks, eviction, partial(attend, impl="blockwise"))
        positions = jax.ShapeDtypeStruct((1, tokens), jnp.int32)
        length = jax.ShapeDtypeStruct((), jnp.int32)
        lowered = jax.jit(call, static_argnums=(6,)).lower(kept, q, kv, kv, positions, length, ONLY_LAYER)
        return lowered.compile(AS_USERS_DO).memory_analysis().temp_size_in_bytes

    short, long = temporaries(2048), temporaries(8192)
    own = 4 * 8 * (4 + 2 + 2 + 4)  # bytes of a token's q, k, v and output
    assert long - short <= 2 * own * (8192 - 2048)
