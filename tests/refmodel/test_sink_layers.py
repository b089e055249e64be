"""Layers with learned sinks and biased experts, in a whole model: every variant, steps of any sizes, ragged rows."""

from __future__ import annotations

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.variants import VARIANTS
from refmodel.cache import init_cache
from refmodel.decoder import decoder
from refmodel.model import prefill, step
from refmodel.parts import ClampedSwish, Experts
from refmodel.tree import abstract_params
from tests.operands import on_device
from tests.refmodel.test_foreign_mixer import Decaying

pytestmark = pytest.mark.usefixtures("fast_compile")

V, TOKENS = 31, 29
PLAIN = decoder("x", 2, 12, 6, 2, 4, V, d_ff=7, qk_norm=False, attention_bias="qkvo")
EXPERTS = Experts(5, 2, 7, activation=ClampedSwish(limit=0.8), bias=True)
CONFIG = PLAIN.with_each_layer(sink_logits=True, feed_forward=EXPERTS)
TOKENS_BT = np.random.default_rng(0).integers(0, V, (1, TOKENS))


def random_numbers(config):
    """Of every parameter, sinks and biases too."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: on_device(rng.normal(size=leaf.shape)), abstract_params(config, jnp.float32))


@pytest.mark.parametrize("layout", [kind.example for kind in VARIANTS.values() if kind.takes_sink_logits])
def test_every_variant_has_the_column_in_its_softmax(layout):
    """A model without sinks whose attention puts them in: e^lse is the sum of the keys' exponentials."""
    (layer, _) = CONFIG.with_layout(layout).layers
    config = dataclasses.replace(CONFIG, layers=(layer,)).at_length(TOKENS)
    params = random_numbers(config)
    stack = params["blocks"]["moe"]
    others = {name: leaf for name, leaf in stack["attn"].items() if name != "sinks"}
    without = params | {"blocks": {"moe": stack | {"attn": others}}}
    e_sink_bnt = jnp.exp(stack["attn"]["sinks"][..., None])

    def with_column(*operands, need_lse=False, **options):
        found = attend(*operands, **options | {"impl": "dense", "need_lse": True})
        e_lse_bnt = jnp.exp(found.lse_bnt)
        share_btn = (e_lse_bnt / (e_lse_bnt + e_sink_bnt)).swapaxes(1, 2)
        return dataclasses.replace(
            found, out_btnh=found.out_btnh * share_btn[..., None], lse_bnt=jnp.log(e_lse_bnt + e_sink_bnt)
        )

    def run(config, params, attend):
        return jax.jit(partial(prefill, config, logits="all", attend=attend))(params, TOKENS_BT)[0]

    wanted = run(config.with_each_layer(sink_logits=False), without, with_column)
    found = run(config, params, partial(attend, impl="blockwise"))
    chex.assert_trees_all_close(found, wanted, atol=2e-4)
    assert np.abs(found - run(config.with_each_layer(sink_logits=False), without, attend)).max() > 1e-2


@pytest.mark.parametrize("layout", ["swa(7)+full", "evict(h2o, budget=9, chunk=4, sinks=1)"])
def test_steps_of_any_sizes_are_one(layout):
    config = CONFIG.with_layout(layout).at_length(TOKENS)
    params, steps = random_numbers(config), (4, 4, 8, 8, 1, 1, 1, 1, 1)
    whole = jax.jit(partial(prefill, config, logits="all"))(params, TOKENS_BT)[0]
    run = jax.jit(partial(step, config, logits="all"))
    cache, parts = init_cache(config, 1, TOKENS), []
    for part_bt in np.split(TOKENS_BT, np.cumsum(steps)[:-1], axis=1):
        logits_btv, cache = run(params, cache, part_bt)
        parts.append(logits_btv)
    chex.assert_trees_all_close(jnp.concatenate(parts, axis=1), whole, atol=1e-4)


def test_a_padded_row_gives_what_it_gives_alone():
    config = CONFIG.with_layout("swa(7)+full")
    params, short = random_numbers(config), 19
    positions_bt = jnp.arange(TOKENS)[None].repeat(2, 0).at[0, short:].set(-1)
    tokens_bt = TOKENS_BT.repeat(2, 0)
    run = jax.jit(partial(step, config, logits="all"))
    together, _ = run(params, init_cache(config, 2, TOKENS, ragged=True), tokens_bt, positions_bt=positions_bt)
    alone = jax.jit(partial(prefill, config, logits="all"))(params, TOKENS_BT[:, :short])[0]
    chex.assert_trees_all_close(together[0, :short], alone[0], atol=1e-4)


def test_the_gradient_reaches_sinks_and_biases():
    config = CONFIG.with_layout("swa(7)+full")
    params = random_numbers(config)

    def loss(params):
        logits_btv, _ = prefill(
            config, params, jnp.asarray(TOKENS_BT), logits="all", attend=partial(attend, impl="dense")
        )
        return jnp.square(logits_btv).mean()

    block = jax.jit(jax.grad(loss))(params)["blocks"]["moe"]
    for leaf in (block["attn"]["sinks"], *(block["ffn"][f"{name}_bias"] for name in ("router", "gate", "up", "down"))):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0


def test_a_mixer_without_a_softmax_takes_no_sinks():
    with pytest.raises(ValueError, match=r"x: learned sinks are logits of a softmax, and decaying.* takes none"):
        CONFIG.with_layout([Decaying(3)] * 2)
