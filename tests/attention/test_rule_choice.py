"""Which blocks a rule chooses: against the definition in float64, few queries at a time, rows, padding, ties."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.block_ruled import BlocksByRule
from attention.block_rules import BlockRule, CausalAntidiagonal, CausalFlash
from attention.chosen import BlockChoice
from attention.cost import Heads
from attention.kernels.rule_choice import choose_blocks_by_rule
from tests.attention.layer_inputs import layer_input
from tests.attention.rules_by_hand import ruled_blocks

pytestmark = pytest.mark.usefixtures("fast_compile")
HEADS = Heads(6, 2, 10, 11)
FLASH, ANTI = BlocksByRule(CausalFlash(1, 2), 7, 5), BlocksByRule(CausalAntidiagonal(1, 1, 3), 6, 4)


@pytest.mark.parametrize("variant", [FLASH, ANTI], ids=str)
def test_a_choice_is_a_groups_with_sinks_and_window_first_and_of_equals_the_earlier(variant):
    """Keys that are all alike, but for one block that the second group's second query head likes."""
    variant = replace(variant, rule=replace(variant.rule, window=2), topk=5)
    block = variant.block
    q, k = jnp.zeros((1, 1, 6, 10)).at[0, 0, 4].set(1.0), jnp.zeros((1, 2, 11 * block, 10))
    k = k.at[0, 1, 6 * block : 7 * block].set(1.0)
    found = choose_blocks_by_rule(q, k, jnp.array([[9 * block + 2]]), variant.choice, variant.rule).chosen_jbtm
    assert found[:, 0, 0].T.tolist() == [[9, 0, 8, 1, 2], [9, 0, 8, 6, 1]]


@pytest.mark.parametrize(("variant", "query_bytes"), [(FLASH, 4 * 2 * 18 * 6), (ANTI, 4 * 2 * 21 * 2 * 20)], ids=str)
def test_few_queries_at_a_time_and_a_gpu_choose_the_same_blocks(monkeypatch, variant, query_bytes):
    q, k, _, q_pos, _ = layer_input(variant, HEADS, 120, 6)[1:6]
    choose = partial(choose_blocks_by_rule, q, k.swapaxes(1, 2), q_pos, variant.choice, variant.rule)
    by_hand = ruled_blocks(variant, *(np.asarray(x, np.float64) for x in (q, k)), np.arange(6, 126))
    expected = [blocks + [-1] * (variant.topk - len(blocks)) for _, blocks in by_hand]
    for queries, target in ((11, "cpu"), (1000, "gfx1201")):
        monkeypatch.setattr("attention.kernels.rule_choice.SCORES_BYTES", queries * query_bytes)
        monkeypatch.setattr("attention.kernels.rule_choice.current_target", lambda target=target: target)
        found = choose().chosen_jbtm
        np.testing.assert_array_equal(found.transpose(1, 3, 2, 0).reshape(-1, variant.topk), expected)


@pytest.mark.parametrize("variant", [FLASH, ANTI], ids=str)
def test_so_many_queries_are_in_memory_as_is_said(monkeypatch, variant):
    """A turn of the loop is of as many queries as have so many numbers: logits, or copied keys where those are more."""
    q, k, _, q_pos, _ = layer_input(variant, HEADS, 120, 6)[1:6]
    query_bytes = {"causal_flash": 4 * 2 * 18 * 6, "causal_antidiagonal": 4 * 2 * 21 * 2 * 20}[variant.rule.name]
    monkeypatch.setattr("attention.kernels.rule_choice.SCORES_BYTES", 17 * query_bytes)
    choose = partial(choose_blocks_by_rule, choice=variant.choice, rule=variant.rule)
    said = str(jax.make_jaxpr(lambda *x: choose(*x).chosen_jbtm)(q, k.swapaxes(1, 2), q_pos))
    assert "length=7" in said  # of 120 in seventeens, and one more


def test_rows_at_places_of_their_own_are_compared_with_their_own_antidiagonals():
    q, k, _, _, _ = layer_input(ANTI, HEADS, 13, 113)[1:6]
    place = np.stack([np.arange(113, 126), np.arange(70, 83)])
    found = choose_blocks_by_rule(q, k.swapaxes(1, 2), jnp.asarray(place), ANTI.choice, ANTI.rule).chosen_jbtm
    for row in range(2):
        one = (np.asarray(x[row : row + 1], np.float64) for x in (q, k))
        expected = [blocks for _, blocks in ruled_blocks(ANTI, *one, place[row])]
        np.testing.assert_array_equal(found[:, row].transpose(2, 1, 0).reshape(-1, ANTI.topk), expected)


@pytest.mark.parametrize("variant", [FLASH, ANTI], ids=str)
def test_padding_chooses_no_block(variant):
    q, k = jnp.ones((1, 2, 2, 4)), jnp.ones((1, 1, 11 * variant.block, 4))
    found = choose_blocks_by_rule(q, k, jnp.array([[-1, 0]]), variant.choice, variant.rule).chosen_jbtm
    assert found[:, 0, :, 0].T.tolist() == [[-1] * variant.topk, [0, *[-1] * (variant.topk - 1)]]


def test_probabilities_too_small_for_float32_are_told_apart():
    logits = jnp.asarray([105.0, -10, -9, -8, 15, -5, 0])[:, None]  # of blocks of one key, for a query of 1
    query, place = jnp.ones((1, 1, 1, 1)), jnp.array([[6]])
    rule = CausalFlash(sinks=1, window=1)
    chosen = choose_blocks_by_rule(query, logits[None, None], place, BlockChoice(1, 3), rule)
    assert chosen.chosen_jbtm.ravel().tolist() == [6, 0, 4]


@pytest.mark.parametrize("counted", [1, 3])
def test_a_rule_that_counts_other_keys_than_it_compares_is_refused(counted):
    @dataclass(frozen=True)
    class Wrong(BlockRule):
        name = "wrong"

        def per_block(self, block):
            return counted

        def compared(self, k_bkcsh):
            return k_bkcsh[None, :, :, :, :2]

    said = rf"the rule wrong: compared must give .* with {counted} keys for a block, .*, got \(1, 1, 2, 3, 2, 4\)"
    with pytest.raises(ValueError, match=said):
        choose_blocks_by_rule(
            jnp.ones((1, 15, 2, 4)), jnp.ones((1, 2, 15, 4)), jnp.arange(15)[None], BlockChoice(5, 3), Wrong()
        )
