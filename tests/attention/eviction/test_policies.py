"""What each policy keeps, and what its queries then see, against the references."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.cost import Depth, Heads
from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.eviction.base import Eviction
from attention.eviction.knorm import TIE
from attention.eviction.policy import CachedKeys, CacheShape, Queries, Retention, State
from attention.eviction.random import Random
from attention.eviction.registry import POLICIES
from tests.attention.eviction.references import SCORES, Scene, simulate
from tests.attention.eviction.strategies import (
    THETA,
    Tokens,
    evictions,
    held,
    parameters,
    random_tokens,
    run,
    tokens,
)

pytestmark = pytest.mark.usefixtures("fast_compile")
COMPILING = settings(max_examples=3)


def check(eviction, tokens, layer=0, n_layers=1, prompt=None):
    """A prompt in one step (all tokens where it is left out), then token by token."""
    total = tokens.q.shape[1]
    steps = (prompt, *[1] * (total - prompt)) if prompt else None
    out, kept = run(eviction, tokens, steps, layer=layer, n_layers=n_layers)
    for row, positions in enumerate(held(kept)):
        one = (x[row].astype(np.float64) for x in tokens)
        expected_out, expected = simulate(eviction, *one, layer=layer, n_layers=n_layers, theta=THETA, prompt=prompt)
        assert positions == expected
        np.testing.assert_allclose(out[row], expected_out, atol=2e-5)


def test_every_policy_has_a_reference():
    assert {*SCORES, "random"} == set(POLICIES)


@pytest.mark.parametrize("policy", SCORES)
def test_evict_is_the_reference(policy):
    @COMPILING
    @given(evictions(policy), tokens())
    def check_one(eviction, tokens):
        check(eviction, tokens)

    check_one()


@pytest.mark.parametrize("policy", SCORES)
def test_where_scores_choose_it_is_the_reference(policy):
    """Some keys more than always stay, many events, a prompt that ends inside a chunk, and decode from there on."""
    reserved, problem = POLICIES[policy]().reserved(Retention(10**6, 2, 3)), random_tokens(0, 2, 59, 6, 2, 10)
    problem.q[:] = 3 * problem.q + 1  # so that queries, and where they stand, matter more than the norms of keys
    if policy == "adakv":  # one head looks at few keys, and has more by the floor of its budget alone
        reserved = 33
        problem.k[:, :, 0] *= 9
    check(Evict(POLICIES[policy](), reserved + 7, 11, sinks=2, recent=3), problem, 1, 3, 17)


@pytest.mark.parametrize("policy", ["keydiff", "expected_attention"])
def test_scores_are_those_of_the_reference_beside_empty_slots(policy):
    """The numbers, of which what stays says little: sinks are held and count for nothing, empty slots hold anything."""
    sinks, length, slots, problem = 3, 23, 29, random_tokens(0, 1, 29, 6, 2, 10)
    pos_s, retention = np.where(np.arange(slots) < length, np.arange(slots), -1), Retention(7, sinks, 2)
    keys, values = (jnp.asarray(x) for x in (problem.k, problem.v))
    cached = CachedKeys(
        keys, values, jnp.asarray(pos_s)[None, None].repeat(2, 1), jnp.asarray(pos_s >= 0)[None, None],
        jnp.arange(slots), length, length, 0, THETA, retention,
    )  # fmt: skip
    rule, pos_t = POLICIES[policy](), jnp.arange(length)
    state = rule.init_state(CacheShape(1, slots, 6, 2, 10, retention), jnp.float32)
    state = rule.observe(state, Queries(jnp.asarray(problem.q[:, :length]), pos_t, pos_t, None, True), cached)
    found = np.asarray(rule.score(state, cached))[0, :, :length]
    tokens = (x[0, :length].astype(np.float64) for x in problem)
    scene = Scene(*tokens, [list(range(length))] * 2, [], sinks, 2, 0, THETA)
    for k in range(2):
        expected = SCORES[policy](scene, k)
        if policy == "keydiff":  # it leaves out the anchor's norm
            expected = expected / expected[-1] * found[k, -1]
        np.testing.assert_allclose(found[k, sinks:], expected[sinks:], rtol=2e-5)


@pytest.mark.parametrize(("keys", "recent"), [(29, 5), (3, 5), (5, 5)])
def test_scores_ask_for_a_product_of_each_pair_that_sees_each_other(keys, recent):
    pairs = sum(query + 1 for query in range(max(0, keys - recent), keys))
    found = POLICIES["snapkv"]().useful_score_flops(Heads(6, 2, 10), keys, Retention(99, 2, recent))
    assert found == 2 * 6 * 10 * pairs


@pytest.mark.parametrize(("budget", "least"), [(20, 4), (9, 1), (4, 1)])
def test_every_head_of_adakv_keeps_a_fifth_of_the_budget(budget, least):
    score_bks = jnp.stack([jnp.arange(50.0), -1 - jnp.arange(50.0)])[
        None
    ]  # any key of one head before the other's best
    kept = POLICIES["adakv"]().retained(score_bks, Retention(budget, 0, 0), budget, 2 * budget)
    assert (kept[0] >= 0).sum(-1).tolist() == [2 * budget - least, least]


def test_as_many_new_keys_stay_as_was_published():
    published = {"h2o": 10, "snapkv": 32, "pyramidkv": 32, "adakv": 32, "tova": 1, "lagkv": 128}
    assert {name: policy().default_recent(20) for name, policy in POLICIES.items()} == dict.fromkeys(
        POLICIES, 0
    ) | published


NEW_TOKENS = 5


def turning_points(eviction: Eviction) -> list[int]:
    """Prompts below, at and above each length at which something changes."""
    chunks = (eviction.chunk, 2 * eviction.chunk) if isinstance(eviction, Evict) else ()
    places = {at + by for at in (eviction.budget, eviction.most_kept, *chunks) for by in (-1, 0, 1)}
    return sorted(place for place in places if place >= 1)


def eviction_and_prompt(evictions: st.SearchStrategy) -> st.SearchStrategy:
    return evictions.flatmap(lambda one: st.tuples(st.just(one), st.sampled_from(turning_points(one))))


@pytest.mark.parametrize("policy", SCORES)
@pytest.mark.parametrize("form", [Evict, EvictAfter])
def test_prompts_of_any_length_then_decode_are_the_reference(form, policy):
    after = parameters(policy).map(lambda given: EvictAfter(**given))

    @COMPILING
    @given(eviction_and_prompt(evictions(policy) if form is Evict else after), st.data())
    def check_one(drawn, data):
        eviction, prompt = drawn
        depth = data.draw(st.sampled_from(((0, 1), (0, 3), (1, 3), (6, 7)))) if policy == "pyramidkv" else (0, 1)
        check(eviction, data.draw(tokens(prompt + NEW_TOKENS, prompt + NEW_TOKENS)), *depth, prompt)

    check_one()


@pytest.mark.parametrize("policy", SCORES)
def test_an_event_after_the_prompt_is_the_last(policy):
    """Each later token adds a slot to every head and writes over none, though a head may hold more than its budget."""
    eviction = EvictAfter(POLICIES[policy](), budget=20, sinks=2, recent=4)
    problem = random_tokens(0, 2, 33, 6, 2, 4)
    _, before = run(eviction, Tokens(*(x[:, :30] for x in problem)), layer=0, n_layers=3)
    _, after = run(eviction, problem, (30, 1, 1, 1), layer=0, n_layers=3)
    assert held(after) == [[[*head, 30, 31, 32] for head in row] for row in held(before)]


@COMPILING
@given(evictions("pyramidkv"), tokens(), st.sampled_from(((0, 3), (1, 3), (6, 7))))
def test_pyramid_budgets_fall_over_the_layers(eviction, tokens, depth):
    check(eviction, tokens, *depth)


@pytest.mark.parametrize(("budget", "n_layers"), [(4096, 48), (1024, 30), (77, 3), (36, 2), (64, 1)])
def test_pyramid_budgets_have_the_budget_as_their_mean(budget, n_layers):
    eviction = Evict(POLICIES["pyramidkv"](), budget=budget)
    budgets = eviction.layer_budgets(n_layers)
    assert list(budgets) == sorted(budgets, reverse=True)
    assert max(budgets) <= eviction.most_kept
    assert min(budgets) >= eviction.least_budget >= eviction.policy.reserved(eviction.retention)
    assert budget <= np.mean(budgets) < budget + 1


@pytest.mark.parametrize(("budget", "n_layers"), [(4096, 48), (1024, 30), (77, 3), (41, 2)])
def test_pyramid_budgets_of_a_short_prompt_are_clipped_to_it_and_the_rest_raised(budget, n_layers):
    eviction = EvictAfter(POLICIES["pyramidkv"](), budget=budget)

    def budgets(prompt):
        return [eviction.layer_budget(Depth(layer, n_layers), prompt) for layer in range(n_layers)]

    for prompt in (budget + 1, (budget + eviction.most_kept) // 2, eviction.most_kept):
        assert budgets(prompt)[0] == prompt and budgets(prompt)[-1] == 2 * budget - prompt
        assert budgets(prompt) == sorted(budgets(prompt), reverse=True)
        assert budget <= np.mean(budgets(prompt)) < budget + 1
    assert budgets(2 * budget) == budgets(10**6) == list(eviction.layer_budgets(n_layers))
    assert min(budgets(budget)) >= budget  # nothing goes


def test_random_keeps_every_token_of_the_past_alike():
    eviction = Evict(Random(), budget=20, chunk=10, sinks=0)
    kept = [run(Evict(Random(seed), 20, 10, 0), random_tokens(0, 1, 200, 5, 5, 4))[1] for seed in range(3)]
    positions = np.concatenate([np.ravel(held(one)) for one in kept])
    assert positions.size == 3 * 5 * 20
    assert abs(positions.mean() - 99.5) < 4 * 57.7 / np.sqrt(positions.size)  # uniform over 0..199
    assert held(kept[0]) != held(kept[1])
    other_layer = run(eviction, random_tokens(0, 1, 200, 5, 5, 4), layer=3, n_layers=4)[1]
    assert held(other_layer) != held(kept[0])


def test_ties_keep_the_older_key():
    tokens = random_tokens(0, 1, 12, 2, 1, 4)
    tokens = tokens._replace(k=np.ones_like(tokens.k))
    for policy in ("knorm", "keydiff", "tova"):
        _, kept = run(Evict(POLICIES[policy](), budget=5, chunk=4, sinks=0, recent=1), tokens)
        assert held(kept) == [[[0, 1, 2, 3, 11]]]


@pytest.mark.parametrize("seed", range(5))
def test_knorm_keeps_the_older_of_equal_norms_however_they_were_rounded(seed):
    """Seven norms, each many times, as of tokens that repeat; rotations and products round each a little elsewhere."""
    rng, problem = np.random.default_rng(seed), random_tokens(seed, 1, 48, 2, 1, 8)
    unit = problem.k / np.linalg.norm(problem.k, axis=-1, keepdims=True)
    norms = rng.integers(1, 8, 48)
    noise = 1 + rng.uniform(-1e-6, 1e-6, 48)
    keys = (unit * (norms * noise)[:, None, None]).astype(np.float32)
    eviction = Evict(POLICIES["knorm"](), budget=16, chunk=8, sinks=0)
    kept: list[int] = []
    for end in range(8, 49, 8):
        kept = sorted(sorted([*kept, *range(end - 8, end)], key=lambda j: (norms[j], j))[:16])
    for steps in (None, (8, *[1] * 16, 24)):
        assert held(run(eviction, problem._replace(k=keys), steps)[1]) == [[kept]]


def test_heads_of_adakv_hold_different_numbers():
    tokens = random_tokens(1, 2, 48, 4, 2, 6)
    tokens.k[:, :, 0] *= 9  # one head looks at few keys, the other at all of them
    _, kept = run(Evict(POLICIES["adakv"](), budget=12, chunk=12, sinks=1, recent=3), tokens)
    sizes = [[len(head) for head in row] for row in held(kept)]
    assert all(sum(row) == 24 and row[0] != row[1] and min(row) >= 4 for row in sizes)


@pytest.mark.parametrize("policy", ["knorm", "adakv"])
def test_zeros_of_both_signs_are_equal_and_the_older_key_stays(policy):
    """knorm keeps what every policy does, adakv over all heads."""
    score_bks = jnp.array([[[-0.0, 0.0, -0.0, 0.0, -1.0], [0.0, -0.0, -1.0, -0.0, 0.0]]])
    kept = POLICIES[policy]().retained(score_bks, Retention(2, 0, 0), 2, 2 * (1 + (policy == "adakv")))
    # adakv: one key of each head for certain, and the other two are the lower head's
    expected = [[[0, 1], [0, 1]]] if policy == "knorm" else [[[-1, 0, 1, 2], [-1, -1, -1, 0]]]
    assert jnp.sort(kept).tolist() == expected


def test_knorm_keeps_the_smallest_norms_where_they_lie_close():
    """65,536 norms within 2 %, 3e-7 apart on average: no tie may be wider than it says."""
    slots, kept = 65_536, 16_384
    norm_s = 1 + 0.02 * np.random.default_rng(0).random(slots, np.float32)
    keys_bskh = np.zeros((1, slots, 1, 2), np.float32)
    keys_bskh[0, :, 0, 0] = norm_s
    cached = SimpleNamespace(keys_bskh=jnp.asarray(keys_bskh), valid_bks=jnp.ones((1, 1, slots), bool))
    _, stays = jax.lax.top_k(POLICIES["knorm"]().score(State(), cached)[0, 0], kept)
    assert norm_s[np.asarray(stays)].max() <= np.sort(norm_s)[kept - 1] * (1 + 2 * TIE)


def test_knorm_s_ties_are_equal_and_empty_slots_come_last():
    norm_s = np.array([3, 1, 1 + TIE / 4, 5, 1 - TIE / 4, 0, 0], np.float32)
    keys_bskh = np.zeros((1, 7, 1, 2), np.float32)
    keys_bskh[0, :, 0, 0] = norm_s
    valid_bks = jnp.asarray([True, True, True, False, True, True, True])[None, None]
    score_s = POLICIES["knorm"]().score(State(), SimpleNamespace(keys_bskh=jnp.asarray(keys_bskh), valid_bks=valid_bks))
    assert score_s[0, 0].tolist() == [-2, -1, -1, -3, -1, 0, 0]
