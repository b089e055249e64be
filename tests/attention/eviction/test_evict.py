"""The variants: what they refuse, their spelling, and their numbers against what runs."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention.attend import attend
from attention.cost import Depth, Heads
from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.eviction.chunks import attend_in_chunks
from attention.eviction.policy import CachedKeys, CacheShape, Queries, Retention
from attention.eviction.registry import POLICIES
from attention.layout import make
from attention.mask import dense_mask
from eval.cost.flops.traced import count_flops
from tests.attention.eviction.strategies import THETA, evictions, random_tokens

HEADS = Heads(6, 2, 4)
pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "snap"}, "no eviction policy 'snap' (did you mean 'snapkv'?); accepted: streaming, h2o,"),
        ({"policy": Heads}, "policy is a policy such as Knorm(), got <class 'attention.cost.Heads'>"),
        ({"policy": "snapkv", "chunk": 0}, "chunk must be at least 1 token, got 0"),
        (
            {"policy": "snapkv", "budget": 0},
            "budget must be at least 1 key, or a share of the prompt from 1/1024 to 1023/1024, got 0",
        ),
        ({"policy": "knorm", "sinks": -1}, "sinks must be at least 0, got -1"),
        ({"policy": "snapkv", "recent": 0}, "recent must be at least 1, got 0"),
        ({"policy": "lagkv", "recent": 1}, "recent must be at least 2, got 1"),
        ({"policy": "snapkv", "budget": 35}, "budget 35 is below the 36 keys that always stay (sinks 4, recent 32)"),
        ({"policy": "lagkv", "budget": 30, "recent": 14}, "budget 30 is below the 31 keys that always stay"),
        ({"policy": "snapkv", "chunk": 31}, "reads the newest 32 queries, more than a chunk of 31"),
        ({"policy": "knorm", "seed": 1}, "gives 'seed' which it does not have"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError) as error:
        make("evict", **arguments) if isinstance(arguments["policy"], str) else Evict(**arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_chunk_larger_than_the_prompt_is_refused_by_those_who_run_prompts():
    eviction = Evict(POLICIES["knorm"](), chunk=1024)
    eviction.check_prompt(1024)
    with pytest.raises(ValueError, match="chunk of 1024 tokens is larger than the prompt of 300"):
        eviction.check_prompt(300)


def test_spelling():
    assert str(Evict(POLICIES["snapkv"](), 1024, 512, recent=16)) == "evict(snapkv, budget=1024, chunk=512, recent=16)"
    assert str(EvictAfter(POLICIES["knorm"]())) == "evict_after(knorm)"


@given(st.sampled_from(sorted(POLICIES)).flatmap(evictions), st.integers(0, 90), st.integers(0, 50))
def test_counts_are_those_of_going_token_by_token(eviction, start, tokens):
    held, pairs, events = 0, 0, 0
    budget = eviction.layer_budget()
    for t in range(start + tokens):
        held += 1
        pairs += held * (t >= start)
        if (t + 1) % eviction.chunk == 0 and held > budget:
            held = budget
            events += t >= start
    assert eviction.useful_pairs(tokens, start) == pairs
    if eviction.fits(start, tokens):
        assert sum(piece.event for _, piece in eviction.schedule(start, tokens)) == events


@pytest.mark.parametrize(("b", "c", "n"), [(12, 4, 44), (5, 5, 5), (8, 4, 8), (64, 16, 4096)])
def test_pairs_in_the_papers_closed_form(b, c, n):
    pairs = Evict(POLICIES["knorm"](), b, c, 0).useful_pairs(n)
    assert 2 * pairs == n * (c + 1) + 2 * b * n - b * (b + c)


def test_pairs_of_eviction_after_the_prompt():
    eviction = EvictAfter(POLICIES["knorm"](), 8, 0)
    assert eviction.useful_pairs(31) == 31 * 32 // 2
    assert eviction.useful_pairs(3, start=31) == 9 + 10 + 11
    assert eviction.after_prompt(31).useful_pairs(3, start=34) == 12 + 13 + 14
    assert eviction.after_prompt(31).held(34) == 11 and eviction.after_prompt(5).held(34) == 34
    for step, said in (((0, 32), ", got 32"), ((0, 30), " in one step, got 30; evict takes chunks"),
                       ((30, 1), " in one step, got 1 after 30; evict takes chunks")):  # fmt: skip
        with pytest.raises(ValueError, match=f"^evict_after: the prompt was to have 31 tokens{said}$"):
            eviction.after_prompt(31).check_step(*step)
    events = [[piece.event for _, piece in eviction.schedule(*step)] for step in ((0, 31), (0, 8), (31, 5))]
    assert events == [[True], [False], [False]]


@pytest.mark.parametrize("policy", ["pyramidkv", "adakv"])
@pytest.mark.parametrize("form", [partial(Evict, chunk=7), EvictAfter])
def test_what_runs_is_what_the_schedule_says(form, policy):
    """Positions that `attend` gets, and the pairs that it computes, in every piece of every step."""
    eviction, depth = form(POLICIES[policy](), budget=9, sinks=1, recent=2), Depth(1, 3)
    steps = (21, 8, 1) if isinstance(eviction, Evict) else (30, 1)
    calls = []

    def spy(q, k, v, q_pos, kv_pos, pattern, *, need_lse):
        jax.debug.callback(lambda *positions: calls.append(positions), q_pos, kv_pos, ordered=True)
        return attend(q, k, v, q_pos, kv_pos, pattern, impl="dense")

    @jax.jit
    def step(kept, part, length):
        positions = length + jnp.arange(part[0].shape[1])[None]
        return attend_in_chunks(eviction, spy, kept, *part, positions, length, depth)[1]

    problem = random_tokens(0, 2, sum(steps), 6, 2, 4)
    kept, length = eviction.init_state(Heads(6, 2, 4), 2, sum(steps), jnp.float32), 0
    for size in steps:
        calls.clear()
        kept = step(kept, [x[:, length : length + size] for x in problem], length)
        jax.effects_barrier()
        schedule = eviction.schedule(length, size, depth)
        assert len(calls) == len(schedule)
        pairs = 0
        for (q_pos, kv_pos), (tokens, piece) in zip(calls, schedule, strict=True):
            q_slot_t, kv_slot_s = eviction.slot_positions(piece, tokens, kept.positions.shape[-1])
            np.testing.assert_array_equal(q_pos, q_slot_t[None])
            if policy == "adakv":  # all that a head may hold
                assert (np.where(kv_pos >= 0, kv_pos, kv_slot_s) == kv_slot_s).all()
            else:
                np.testing.assert_array_equal(kv_pos, kv_slot_s[None, None])
            mask = dense_mask(eviction.pattern(), np.asarray(q_pos), np.asarray(kv_pos), HEADS.n_heads)
            pairs += int(mask.sum()) // mask.shape[0]
        assert eviction.useful(HEADS, size, length, depth).pairs == pairs
        length += size


@pytest.mark.parametrize(
    ("policy", "start", "tokens"),
    [(policy, 0, 407) for policy in sorted(POLICIES) if policy != "adakv"]  # whose walks depend on the scores
    + [("pyramidkv", 230, 1), ("pyramidkv", 99, 132), ("h2o", 99, 130)],
)
def test_executed_flops_are_those_of_the_traced_program(policy, start, tokens):
    eviction, impl = Evict(POLICIES[policy](), budget=83, chunk=33, sinks=2, recent=3), "blockwise"
    capacity, depth = start + tokens, Depth(1, 3)
    kept = jax.eval_shape(lambda: eviction.init_state(Heads(6, 2, 4), 1, capacity, jnp.float32))
    q, kv = (jax.ShapeDtypeStruct((1, tokens, heads, 4), jnp.float32) for heads in (6, 2))

    def step(kept, q, k, v):
        positions = jnp.arange(start, start + tokens)[None]
        return attend_in_chunks(
            eviction, partial(attend, impl=impl), kept, q, k, v, positions, start, depth, rope_theta=THETA
        )

    counted = count_flops(step, kept, q, kv, kv)
    assert counted.total == eviction.executed(HEADS, tokens, start, capacity, impl, depth).flops(HEADS)
    selection = sum(flops for scope, flops in counted.by_scope.items() if "selection" in scope)
    assert selection == eviction.executed(HEADS, tokens, start, capacity, impl, depth).selection_flops


@pytest.mark.parametrize("policy", POLICIES)
def test_selection_flops_are_the_products_that_run(policy):
    kind, heads, retention = POLICIES[policy](), Heads(10, 2, 6), Retention(83, 2, 3)
    slots, queries = 101, 71
    state = jax.eval_shape(partial(kind.init_state, CacheShape(1, slots, 10, 2, 6, retention), jnp.float32))

    def held(keys):
        position = jnp.arange(slots, dtype=jnp.int32)
        zero = jnp.int32(0)
        position_bks = jnp.broadcast_to(position, (1, 2, slots))
        sizes = zero + 90, zero + 90, zero
        return CachedKeys(keys, keys, position_bks, position_bks >= 0, position, *sizes, THETA, retention)

    def observe(state, keys, q):
        at = jnp.arange(queries)
        return kind.observe(state, Queries(q, at, at, q[..., 0].swapaxes(1, 2), jnp.bool_(True)), held(keys))

    keys, q = (jax.ShapeDtypeStruct((1, n, heads, 6), jnp.float32) for n, heads in ((slots, 2), (queries, 10)))
    assert count_flops(observe, state, keys, q).total == kind.observe_flops(heads, slots, queries)
    score = count_flops(lambda state, keys: kind.score(state, held(keys)), state, keys)
    assert score.total == kind.score_flops(heads, slots, retention)


def test_far_into_the_prompt_a_token_sees_the_budget_and_half_a_chunk():
    eviction, n = Evict(POLICIES["knorm"](), budget=10, chunk=5, sinks=0), 10_000
    far = eviction.useful_pairs(5000, start=n) / 5000
    assert eviction.limiting_flops(HEADS) == 4 * HEADS.head_dim * 6 * far
    assert EvictAfter(POLICIES["knorm"]()).limiting_flops(HEADS) is None
