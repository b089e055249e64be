"""What each policy keeps, and what its queries then see, against the references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.eviction.random import Random
from attention.eviction.registry import POLICIES
from tests.attention.eviction.references import SCORES, simulate
from tests.attention.eviction.strategies import THETA, evictions, held, parameters, random_tokens, run, tokens

pytestmark = pytest.mark.usefixtures("fast_compile")
COMPILING = settings(max_examples=3)


def check(eviction, tokens, layer=0, n_layers=1):
    out, kept = run(eviction, tokens, layer=layer, n_layers=n_layers)
    for row, positions in enumerate(held(kept)):
        one = (x[row].astype(np.float64) for x in tokens)
        expected_out, expected = simulate(eviction, *one, layer=layer, n_layers=n_layers, theta=THETA)
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


@settings(max_examples=6)
@given(st.sampled_from(sorted(SCORES)).flatmap(parameters), tokens())
def test_evict_after_is_the_reference(given, tokens):
    check(EvictAfter(**given), tokens)


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


def test_heads_of_adakv_hold_different_numbers():
    tokens = random_tokens(1, 2, 48, 4, 2, 6)
    tokens.k[:, :, 0] *= 9  # one head looks at few keys, the other at all of them
    _, kept = run(Evict(POLICIES["adakv"](), budget=12, chunk=12, sinks=1, recent=3), tokens)
    sizes = [[len(head) for head in row] for row in held(kept)]
    assert all(sum(row) == 24 and row[0] != row[1] and min(row) >= 4 for row in sizes)
