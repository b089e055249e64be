"""A model whose weights are packed is the model of the numbers that they stand for: every family's layers."""

from __future__ import annotations

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import refmodel
from refmodel.decoder import decoder
from refmodel.digest import params_digest
from refmodel.generate import generate
from refmodel.model import prefill, step
from refmodel.packed.codings import parse_coding
from refmodel.packed.held import held_weights
from refmodel.packed.packed import Packed
from refmodel.packed_head import BLOCK_ROWS
from refmodel.tree import leaves_by_path, model_leaves, nested
from refmodel.weights.random import random_params

pytestmark = pytest.mark.usefixtures("fast_compile")

IDS = jnp.asarray([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9]])


def expanded(config, params):
    """The same tree of plain arrays."""

    def plain(path, leaf):
        if not isinstance(leaf, Packed):
            return leaf
        row, numbers = model_leaves(config)[path].row, np.asarray(leaf.expand())
        stacked = model_leaves(config)[path].layers is not None
        return jnp.asarray(np.stack([row.from_stored(one) for one in numbers]) if stacked else row.from_stored(numbers))

    return nested({path: plain(path, leaf) for path, leaf in leaves_by_path(params).items()})


@partial(jax.jit, static_argnums=0)
def logits_of(config, params):
    """Of a prompt, and of a token after it."""
    first, cache = prefill(config, params, IDS, capacity_tokens=17, logits="all")
    then, _ = step(config, params, cache, IDS[:, :1])
    return first, then


@pytest.mark.parametrize(("name", "layout"), [("tiny-moe", "swa(5)+full"), ("tiny-dense", "3*delta+full")])
def test_packed_is_expanded(name, layout):
    model = refmodel.load(name, weights="int8(16)" if name == "tiny-dense" else "fp8", layout=layout)
    plain = expanded(model.config, model.params)
    chex.assert_trees_all_close(
        logits_of(model.config, model.params), logits_of(model.config, plain), rtol=2e-5, atol=2e-5
    )
    assert held_weights(model.params).n_bytes < 0.6 * held_weights(plain).n_bytes


def test_generated_tokens_are_the_same():
    model = refmodel.load("tiny-moe", weights="fp8")
    plain = expanded(model.config, model.params)
    found, wanted = (generate(model.config, params, IDS, 7) for params in (model.params, plain))
    np.testing.assert_array_equal(found, wanted)


def test_a_vocabulary_of_several_blocks():
    """The last block of a packed head is not whole, and tokens of every block are told apart."""
    config = decoder(
        "wide", n_layers=1, d_model=32, n_heads=2, n_kv_heads=1, head_dim=16, vocab_size=2 * BLOCK_ROWS + 7, d_ff=16
    )
    params = random_params(config, 0, jnp.float32, parse_coding("int8(16)"))
    run = jax.jit(partial(prefill, config, logits="all"))
    (found, _), (wanted, _) = (run(tree, IDS * 2000 % config.vocab_size) for tree in (params, expanded(config, params)))
    assert found.shape == (1, IDS.shape[1], config.vocab_size)
    chex.assert_trees_all_close(found, wanted, rtol=2e-5, atol=2e-5)


def test_random_weights_have_the_spread_of_those_that_are_not_packed():
    config = decoder(
        "spread", n_layers=3, d_model=192, n_heads=4, n_kv_heads=2, head_dim=32, vocab_size=131, n_experts=5,
        experts_per_token=2, d_expert=64,
    )  # fmt: skip
    params = leaves_by_path(random_params(config, 0, jnp.float32, parse_coding("int4(32)")))
    for path, leaf in model_leaves(config).items():
        if isinstance(packed := params[path], Packed):
            numbers = packed.expand()
            assert abs(float(numbers.std()) * leaf.row.fan_in**0.5 - 1) < 0.05, path
            if leaf.layers:
                assert not np.array_equal(numbers[0], numbers[1]), path
    assert sum(isinstance(leaf, Packed) for leaf in params.values()) == 9


def test_a_digest_tells_codings_and_their_arrays_apart():
    config = refmodel.load("tiny-dense").config
    params, again, other = (random_params(config, 0, jnp.float32, parse_coding("int8(16)")) for _ in range(3))
    leaf = again["embed"]["embedding"]
    renamed = dataclasses.replace(leaf.coding, name="other")
    other["embed"]["embedding"] = dataclasses.replace(leaf, coding=renamed)
    assert params_digest(params) == params_digest(again) != params_digest(other)
    for name in ("byte", "scale"):
        changed = {**leaf.parts, name: leaf.parts[name].at[3, 2].add(1)}
        again["embed"]["embedding"] = dataclasses.replace(leaf, parts=changed)
        assert params_digest(again) != params_digest(params)


def test_held_weights_are_told():
    model = refmodel.load("tiny-dense", weights="int8(16)")
    assert model.weights_as_held == "random (seed 0), int8(16)" and model.weights == "random (seed 0)"
    assert model.held.n_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
    assert model.held.bits_per_weight == 8 * model.held.n_bytes / model.config.params
    assert refmodel.load("tiny-dense").weights_as_held == "random (seed 0)"


def test_a_layout_takes_packed_layers_along():
    """Layers that keep their mixer keep their matrices, packed; those that others get are packed like them."""
    model = refmodel.load("tiny-dense", weights="int8(16)")
    mixed = model.with_layout("3*delta+full")
    before, after = leaves_by_path(model.params), leaves_by_path(mixed.params)
    chex.assert_trees_all_equal(after["blocks.dense.attn.q"].at(0), before["blocks.dense.attn.q"].at(3))
    moved = after["blocks.delta_dense.ffn.up"]
    assert isinstance(moved, Packed) and moved.shape == (3, 80, 48)
    chex.assert_trees_all_equal(moved.at(2), before["blocks.dense.ffn.up"].at(2))


def test_scales_alone_have_a_gradient():
    """Levels are whole numbers, or floats of 8 bits, which are none to learn."""
    model = refmodel.load("tiny-dense", weights="fp8")

    def loss(params):
        return prefill(model.config, params, IDS)[0].sum()

    found = jax.jit(jax.grad(loss, allow_int=True))(model.params)["blocks"]["dense"]["attn"]["q"].parts
    assert float(jnp.abs(found["scale"].astype(jnp.float32)).max()) > 0
    assert not np.asarray(found["byte"], np.float32).any()
