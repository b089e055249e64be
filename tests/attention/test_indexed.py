"""What variants with an index have in common: its parameters, its keys beside the cache's, its queries and keys."""

from __future__ import annotations

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.block_indexed import BlockIndexed
from attention.block_routed import BlockRouted
from attention.cost import Depth, Heads
from attention.mixer import MixerInput, StepContext
from attention.pooled_indexed import PooledIndexed
from attention.token_indexed import TokenIndexed
from tests.attention.index_by_hand import normed, turned

pytestmark = pytest.mark.usefixtures("fast_compile")
HEADS = Heads(6, 2, 5, 11)
MSA = BlockIndexed(block=3, topk=2, dim=8)


def step_input(tokens: int, start: int = 0, *, seed: int = 0) -> tuple[MixerInput, StepContext]:
    """Two rows of a step, turned by positions as a layer with 4 rotated dimensions turns its heads."""
    rng = np.random.default_rng(seed)
    params = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in MSA.params(HEADS).items()}
    rng = np.random.default_rng(seed + 1)
    shapes = ((11,), (6, 5), (2, 5), (2, 5))
    whole = [rng.normal(size=(2, start + tokens, *shape)) for shape in shapes]
    inputs = MixerInput(*(jnp.asarray(x[:, start:], jnp.float32) for x in whole), params)
    pos_bt = jnp.arange(start, start + tokens)[None]

    def rotate(x_btmh: jax.Array, pos_bt: jax.Array) -> jax.Array:
        return jnp.asarray(turned(np.asarray(x_btmh), np.asarray(pos_bt), 4), jnp.float32)

    return inputs, StepContext(pos_bt, start, attend, Depth(jnp.int32(0), 1), start == 0, start == 0, rotate=rotate)


def test_queries_and_keys_are_projected_normed_and_turned_by_their_positions():
    inputs, now = step_input(7, 4)
    x, params = np.asarray(inputs.x_btd, np.float64), inputs.params
    for name, heads, found in (("q", 2, MSA.index_queries(inputs, now)), ("k", 1, MSA.index_keys(inputs, now))):
        weight = np.asarray(params[f"index_{name}_2x8" if name == "q" else "index_k_8"], np.float64)
        expected = normed((x @ weight).reshape(2, 7, heads, 8), np.asarray(params[f"index_{name}_norm_8"], np.float64))
        np.testing.assert_allclose(found, turned(expected, np.arange(4, 11)[None], 4), atol=1e-5)


def test_keys_of_the_index_stand_in_the_slots_of_the_caches():
    stack = jax.tree.map(lambda x: jnp.stack([x] * 3), MSA.init_state(HEADS, 2, 17, jnp.float32))
    chex.assert_shape(stack.index_keys, (3, 2, 17, 1, 8))
    inputs, now = step_input(9)
    attended, stack = MSA.step(inputs, now, stack, jnp.int32(1))
    more, later = step_input(1, 9)
    _, stack = MSA.step(more, later, stack, jnp.int32(1))
    whole = jnp.concatenate([MSA.index_keys(inputs, now), MSA.index_keys(more, later)], axis=1)
    chex.assert_trees_all_close(stack.index_keys[1, :, :10], whole)
    chex.assert_trees_all_close(stack.keys[1, :, :9], inputs.k_btkh)
    assert not stack.index_keys[jnp.array([0, 2])].any() and not stack.index_keys[1, :, 10:].any()
    assert attended.out_btnh.shape == inputs.q_btnh.shape
    values = MSA.token_values(HEADS)
    assert values == 8 and MSA.state_bytes(stack) == 4 * 3 * 2 * 17 * (2 * 2 * 5 + values)


def test_a_subclass_says_how_its_choice_is_attended_to():
    class Twice(BlockIndexed):
        def attend(self, attend, layer):
            attended = super().attend(attend, layer)
            return replace(attended, out_btnh=2 * attended.out_btnh)

    inputs, now = step_input(9)
    stack = jax.tree.map(lambda x: x[None], MSA.init_state(HEADS, 2, 17, jnp.float32))
    plain, _ = MSA.step(inputs, now, stack, jnp.int32(0))
    twice, _ = Twice(block=3, topk=2, dim=8).step(inputs, now, stack, jnp.int32(0))
    chex.assert_trees_all_close(twice.out_btnh, 2 * plain.out_btnh)


@pytest.mark.parametrize("chooser", [BlockIndexed, TokenIndexed, PooledIndexed, BlockRouted])
def test_what_chooses_keys_has_no_scores_that_a_function_changes(chooser):
    with pytest.raises(ValueError, match=r"Scored: nothing asks its score; accepted: .* that choose no keys"):

        class Scored(chooser):
            def score(self, scores, q_pos, kv_pos, head):
                return scores


def test_parameters_are_named_by_their_sizes():
    """For layers of one model may have other sizes, whose leaves stand beside each other."""
    assert MSA.params(HEADS) == {
        "index_q_2x8": (11, 16), "index_k_8": (11, 8), "index_q_norm_8": (8,), "index_k_norm_8": (8,),
    }  # fmt: skip
