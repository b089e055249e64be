"""Gemma 4's layers in a whole model: any cut of a prompt, ragged rows, layouts, counts."""

from __future__ import annotations

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eval.cost.flops.cross_check import cross_check
from eval.cost.flops.traffic import kv_bytes_per_token, kv_cache_bytes
from refmodel.cache import cache_bytes, init_cache
from refmodel.families.gemma3 import local_global
from refmodel.families.gemma4 import gemma4
from refmodel.feed_forward import DenseAndExperts
from refmodel.model import prefill, step, unembed
from refmodel.parts import Dense, Experts, Rope
from refmodel.presets import preset
from refmodel.rope_scaling import Proportional
from refmodel.schedule import Step, prefill_steps
from refmodel.tree import abstract_params
from refmodel.weights.random import random_params

pytestmark = pytest.mark.usefixtures("fast_compile")

D, E, V, TOKENS = 26, 7, 31, 29
EXPERTS = Experts(E, 3, 5, activation="gelu_tanh", beside=Dense(19, "gelu_tanh"))
CONFIG = gemma4(
    "x", D, (6, 3, 10), (6, 2, 14), local_global(4, 5, every=2), EXPERTS, vocab_size=V, values_are_keys=True,
    local_rope=Rope(10.0), world_rope=Rope(100.0, Proportional(3)), tied_head=True, logit_cap=2.0,
)  # fmt: skip
TOKENS_BT = np.random.default_rng(0).integers(0, V, (2, TOKENS))
run = jax.jit(prefill, static_argnums=0, static_argnames=("logits", "chunk_tokens", "capacity_tokens"))
decode = jax.jit(step, static_argnums=0, static_argnames=("logits",))


def drawn(config):
    """Every number random, scales too, such that activations stay of order one."""
    rng, params = np.random.default_rng(1), random_params(config, 0, jnp.float32)
    return jax.tree.map(lambda x: x * jnp.asarray(rng.uniform(0.5, 1.5, x.shape), x.dtype), params)


@pytest.mark.slow
def test_ragged_rows_are_each_what_they_are_alone():
    """In a first step and in one more token of each; the golden files hold chunks and decode of even rows."""
    params, lengths = drawn(CONFIG), np.array([13, TOKENS - 1])
    places = np.arange(TOKENS - 1)[None]
    positions_bt = np.where(places < lengths[:, None], places, -1)
    cache = init_cache(CONFIG, 2, TOKENS, ragged=True)
    _, cache = decode(CONFIG, params, cache, TOKENS_BT[:, :-1], positions_bt=positions_bt)
    next_b1 = np.array([TOKENS_BT[0, 13], TOKENS_BT[1, -1]])[:, None]
    logits_bv, _ = decode(CONFIG, params, cache, next_b1, positions_bt=lengths[:, None])
    for row, length in enumerate(lengths):
        alone, _ = run(CONFIG, params, TOKENS_BT[row : row + 1, : length + 1])
        chex.assert_trees_all_close(logits_bv[row], alone[0], atol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["evict(h2o, budget=9, chunk=4, sinks=1)", "routed(3|full)", "swa(7)"])
def test_other_layouts_go_into_layers_of_both_shapes(layout):
    config = CONFIG.with_layout(layout).at_length(TOKENS - 1)
    params = drawn(config)
    whole, _ = run(config, params, TOKENS_BT[:, :-1])
    chunks, cache = run(config, params, TOKENS_BT[:, :-1], chunk_tokens=4)
    chex.assert_trees_all_close(chunks, whole, atol=5e-5)
    assert [layer.heads for layer in config.layers] == [layer.heads for layer in CONFIG.layers]
    assert {run.keys.shape[-2:] for run in cache.runs} == {(3, 10), (2, 14)}


@pytest.mark.parametrize(
    "steps", [prefill_steps(TOKENS), prefill_steps(28, 7), (Step(1, TOKENS),)], ids=["one step", "chunks", "decode"]
)
def test_closed_form_is_what_is_traced_and_compiled(steps):
    assert cross_check(CONFIG, steps).faults == []


def test_the_cache_holds_keys_and_values_of_both_shapes():
    """Though in the global layers both are of the same projection."""
    for tokens in (3, TOKENS):
        assert kv_cache_bytes(CONFIG, tokens, "f32") == cache_bytes(CONFIG, init_cache(CONFIG, 1, tokens))
    assert kv_bytes_per_token(CONFIG, "f32") == 4 * 2 * 2 * (3 * 10 + 2 * 14)


def test_dense_beside_experts_is_what_a_loop_in_float64_computes():
    layer, rng = CONFIG.layers[0], np.random.default_rng(2)
    params = {
        name: rng.normal(size=leaf.shape) / 5
        for name, leaf in ((row.path, row) for row in layer.parameters)
        if name.startswith("ffn.")
    }  # fmt: skip
    x_td, normed_td = rng.normal(size=(2, 11, D)).astype(np.float32)
    tree: dict = {}
    for path, value in params.items():
        *parents, name = path.split(".")[1:]
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = jnp.asarray(value[None], jnp.float32)
    module = DenseAndExperts(layer, 1, jnp.float32, "ffn")
    found = jax.jit(module.apply)({"params": tree}, normed_td[None], jnp.int32(0), x_td[None])[0]

    def norm(x, name):
        scale = params[f"ffn.{name}.scale"] if name else 1
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + layer.norm.eps) * scale

    def gated(x, gate, up, down):
        z = x @ gate
        return (z / (1 + np.exp(-((8 / np.pi) ** 0.5) * (z + 0.044715 * z**3))) * (x @ up)) @ down

    logits_te = norm(x_td, "") * params["ffn.router_scale"] / D**0.5 @ params["ffn.router"]
    expected = norm(
        gated(normed_td, *(params[f"ffn.dense.{one}"] for one in ("gate", "up", "down"))), "dense_post_norm"
    )
    routed = np.zeros_like(x_td)
    for t, logits_e in enumerate(logits_te):
        chosen = np.argsort(-logits_e)[:3]
        weights = np.exp(logits_e[chosen]) / np.exp(logits_e[chosen]).sum() * params["ffn.expert_scale"][chosen]
        for e, weight in zip(chosen, weights, strict=True):
            one = (params[f"ffn.{matrix}"][e] for matrix in ("gate", "up", "down"))
            routed[t] += weight * gated(norm(x_td[t], "experts_norm"), *one)
    np.testing.assert_allclose(found, expected + norm(routed, "experts_post_norm"), atol=2e-5)


def test_logits_are_capped():
    hidden, params = jnp.full((1, D), 100.0), random_params(CONFIG, 0, jnp.float32)
    raw = unembed(dataclasses.replace(CONFIG, logit_cap=None), params, hidden)
    chex.assert_trees_all_close(unembed(CONFIG, params, hidden), 2 * np.tanh(raw / 2), atol=1e-6)
    assert np.abs(raw).max() > 2


@pytest.mark.parametrize(("name", "params", "stacks"), [
    ("gemma4-26b-a4b", 25_233_141_790, {"moe": 25, "global_moe": 5}),
    ("gemma4-31b", 30_697_345_340, {"dense": 50, "global_dense": 10}),
])  # fmt: skip
def test_the_presets_are_whole(name, params, stacks):
    config = preset(name)
    assert config.params == params == sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))
    assert {stack: config.stacks.count(stack) for stack in config.stacks} == stacks
