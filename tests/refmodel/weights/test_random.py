"""Random parameters: the right tree, leaves that depend on nothing but themselves, projections that keep variance."""

from __future__ import annotations

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.decoder import decoder
from refmodel.tree import abstract_params, leaves_by_path
from refmodel.weights.random import random_params, variant_params

pytestmark = pytest.mark.usefixtures("fast_compile")

MOE = decoder(
    "tiny", n_layers=4, d_model=48, n_heads=6, n_kv_heads=2, head_dim=16, vocab_size=257, n_experts=11,
    experts_per_token=3, d_expert=24, mlp_only_layers=(1, 3), d_ff=40,
)  # fmt: skip


def test_tree_and_determinism():
    one, again, other = (leaves_by_path(random_params(MOE, seed, jnp.bfloat16)) for seed in (0, 0, 1))
    assert {path: (leaf.shape, leaf.dtype) for path, leaf in one.items()} == {
        path: (leaf.shape, leaf.dtype) for path, leaf in leaves_by_path(abstract_params(MOE, jnp.bfloat16)).items()
    }
    for path, leaf in one.items():
        np.testing.assert_array_equal(leaf, again[path])
        assert (leaf == 1).all() if path.endswith("scale") else (leaf != other[path]).any()


def test_a_leaf_does_not_depend_on_the_others():
    one = leaves_by_path(random_params(MOE, 3, jnp.bfloat16))
    fewer = leaves_by_path(
        random_params(dataclasses.replace(MOE.with_each_layer(qk_norm=False), tied_head=True), 3, jnp.bfloat16)
    )
    assert len(fewer) < len(one)
    for path, leaf in fewer.items():
        np.testing.assert_array_equal(leaf, one[path])


def test_projections_keep_variance_and_no_two_draws_are_alike():
    params = random_params(MOE, 0, jnp.bfloat16)
    dense, moe = params["blocks"]["dense"], params["blocks"]["moe"]
    d_model, heads = MOE.d_model, MOE.n_heads * MOE.head_dim
    for leaf, fan_in in (
        (moe["attn"]["q"], d_model), (moe["attn"]["o"], heads), (moe["ffn"]["down"], 24),
        (dense["ffn"]["down"], 40), (moe["ffn"]["router"], d_model), (params["embed"]["embedding"], d_model),
    ):  # fmt: skip
        assert abs(leaf.astype(jnp.float32).std() * fan_in**0.5 - 1) < 0.05
    for one, other in (moe["attn"]["q"][:2], (moe["attn"]["k"], moe["attn"]["v"])):
        assert abs(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1]) < 0.05


def test_what_variants_lack_is_drawn_and_what_is_there_stays():
    routed = MOE.with_layout("routed(7|full)")
    params = random_params(routed, 3, jnp.bfloat16)
    bare = jax.tree.map(lambda leaf: leaf, params)
    for block in bare["blocks"].values():
        block["attn"] = {name: leaf for name, leaf in block["attn"].items() if "router" not in name}
    kept, filled, others = (variant_params(routed, *of) for of in ((params, 5), (bare, 3), (bare, 5)))
    chex.assert_trees_all_equal(kept, params)
    chex.assert_trees_all_equal(filled, params)
    there = leaves_by_path(params)
    assert {path: bool((leaf == there[path]).all()) for path, leaf in leaves_by_path(others).items()} == {
        path: ".attn.span_router" not in path for path in there
    }
