"""Layers that differ in more than their attention: heads, softmax scale, positions, norms."""

from __future__ import annotations

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.block_indexed import BlockIndexed
from attention.block_routed import BlockRouted
from attention.block_ruled import BlocksByRule
from attention.cost import Heads
from attention.full import Full
from attention.pooled_indexed import PooledIndexed
from attention.sliding_window import SlidingWindow
from attention.token_indexed import TokenIndexed
from refmodel.layer_spec import LayerSpec
from refmodel.model import prefill
from refmodel.parts import Dense, Experts, Norm, Rope
from refmodel.presets import preset
from refmodel.rope_scaling import Linear
from refmodel.specification import ModelConfig
from refmodel.tree import abstract_params, model_leaves
from refmodel.weights.random import random_params

D = 13
LOCAL = LayerSpec(SlidingWindow(5), Heads(6, 2, 10, D), Dense(17))
WORLD = LayerSpec(
    Full(), Heads(3, 1, 14, D), Experts(5, 2, 11), Norm(1e-3, offset=1.0, after=True), Rope(100.0, Linear(8.0)),
    qk_norm=False, softmax_scale=0.3, stack="world",
)  # fmt: skip
MIXED = ModelConfig("mixed", (LOCAL, LOCAL, WORLD, LOCAL), D, 19, embedding_scale=3.0)


def test_layers_of_all_shapes_run_and_their_caches_too(fast_compile):
    params = random_params(MIXED, 0, jnp.float32)
    tokens_bt = jax.random.randint(jax.random.key(1), (2, 23), 0, 19)
    whole, _ = prefill(MIXED, params, tokens_bt, logits="all")
    assert np.isfinite(whole).all()
    chunks, cache = prefill(MIXED, params, tokens_bt, chunk_tokens=4)
    chex.assert_trees_all_close(chunks, whole[:, -1], atol=1e-5)
    assert {run.keys.shape[-2:] for run in cache.runs} == {(2, 10), (1, 14)}


def test_a_stack_is_of_one_shape():
    with pytest.raises(ValueError, match="layers of the stack 'dense' have parameters of different shapes"):
        dataclasses.replace(MIXED, layers=(LOCAL, dataclasses.replace(LOCAL, feed_forward=Dense(19))))
    with pytest.raises(ValueError, match="2 sizes of heads"):
        _ = MIXED.heads


def test_values_that_are_keys_have_no_bias_of_their_own():
    shared = dataclasses.replace(LOCAL, value_is_key=True, attention_bias="qko")
    assert dataclasses.replace(MIXED, layers=(shared,)).params == MIXED.one_layer(LOCAL.mixer).params - 10 * 2 * D + (
        6 * 10 + 2 * 10 + D
    )
    with pytest.raises(ValueError, match="mixed: values that are the keys' projection have no bias of their own"):
        dataclasses.replace(MIXED, layers=(dataclasses.replace(shared, attention_bias="qkvo"),))


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (TokenIndexed(k=2**65), r"dsa: k must be a whole number of at most 2,147,483,647, got 3689"),
        (TokenIndexed(heads=2**17), r"dsa: heads must be a whole number of at most 65,536, got 131072"),
        (PooledIndexed(budget=8.0), r"qsa: budget must be a whole number of at most 2,147,483,647, got 8.0"),
        (BlocksByRule(topk=2**65), r"blocks: topk must be a whole number of at most"),
        (BlocksByRule(mean="false"), r"blocks: mean must be true or false, got 'false'"),
        (BlockRouted(block=2**63), r"moba: block must be a whole number of at most"),
        (BlockIndexed(block=True), r"msa: block must be a whole number"),
    ],
    ids=str,
)
def test_numbers_of_a_mixer_that_no_model_has_are_refused(layout, said):
    with pytest.raises(ValueError, match=said):
        MIXED.one_layer(layout)


def test_every_leaf_has_its_row():
    leaves = model_leaves(MIXED)
    q = leaves["blocks.world.attn.q"]
    assert (q.layers, q.shape, q.row.fan_in, q.row.stored_shape) == ((2,), (1, D, 3, 14), D, (42, D))
    o, gate = leaves["blocks.dense.attn.o"].row, leaves["blocks.world.ffn.gate"].row
    assert (o.fan_in, o.stored_shape, gate.stored_shape) == (60, (D, 60), (5, 11, D))
    assert (gate.macs, gate.macs_per_token, gate.size) == (D * 11, 2 * D * 11, 5 * D * 11)
    assert MIXED.params == sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params(MIXED)))


def test_a_stored_matrix_has_its_heads_in_one_axis():
    rng = np.random.default_rng(0)
    for row in WORLD.parameters:
        value = rng.normal(size=row.shape)
        if not row.sums:
            stored = value
        elif row.path == "attn.o":
            stored = value.reshape(-1, D).T
        elif row.copies > 1:
            stored = value.swapaxes(-1, -2)
        else:
            stored = value.reshape(D, -1).T
        assert stored.shape == row.stored_shape
        np.testing.assert_array_equal(row.from_stored(np.ascontiguousarray(stored)), value, err_msg=row.path)


def test_a_policy_that_turns_queries_back_refuses_scaled_positions():
    evicting = MIXED.with_layout("evict(expected_attention, budget=8, chunk=4, sinks=1, recent=2)")
    params, tokens_bt = random_params(evicting, 0, jnp.float32), jnp.zeros((1, 8), jnp.int32)
    with pytest.raises(ValueError, match="expected_attention turns queries back to position 0 and needs rope_theta"):
        prefill(evicting, params, tokens_bt, chunk_tokens=4)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "gemma4-26b-a4b",
            25 * 2 * 8 * 256 + 5 * 2 * 2 * 512,
        ),  # the global layers' values have no projection of their own
        ("gemma4-31b", 50 * 2 * 16 * 256 + 10 * 2 * 4 * 512),
        ("glm-4.7-flash", 47 * (512 + 64)),  # a latent vector, and the key that is rotated
        ("qwen3.5-35b-a3b", 10 * 2 * 2 * 256),  # a DeltaNet layer keeps no token
    ],
)
def test_what_a_token_leaves_in_the_cache(name, values):
    assert sum(layer.kv_values for layer in preset(name).layers) == values
