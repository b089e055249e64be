"""Routes of a whole model, and routers for a checkpoint that has none."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.soft_routing import for_training, price, span_gates
from refmodel.model import prefill
from refmodel.observe import observe_routed, routes_taken
from refmodel.presets import preset
from refmodel.source import Model
from refmodel.weights.random import random_params, variant_params

pytestmark = pytest.mark.usefixtures("fast_compile")

TOKENS = jax.random.randint(jax.random.key(3), (2, 23), 0, 257)


def checkpoint(name: str) -> Model:
    config = preset(name)
    return Model(config, random_params(config, 7, jnp.float32), None, "checkpoint")


def test_routes_of_every_routed_layer():
    model = checkpoint("tiny-moe").with_layout(
        "routed(3|3|full,router=periodic,sinks=0)+full+2*routed(5|full,per=head)"
    )
    seen = routes_taken(model.config, model.params, TOKENS)
    assert list(seen) == [0, 2, 3]
    np.testing.assert_allclose(seen[0].share_me, [[8 / 23, 8 / 23, 7 / 23]], rtol=1e-6)
    for statistics in (seen[2], seen[3]):
        chex.assert_shape(statistics.share_me, (model.config.n_heads, 2))
        np.testing.assert_allclose(statistics.share_me.sum(-1), 1, rtol=1e-6)
        assert 5 - 1 < statistics.mean_keys < 12
    assert not np.allclose(seen[2].share_me, seen[3].share_me)


def test_what_is_observed_is_what_the_model_runs():
    """Spans that the model's own attention was called with, eagerly, against the routes that are reported."""
    model = checkpoint("tiny-dense").with_layout("routed(5|full,per=group)")
    calls = []

    def spy(*operands, **options):
        calls.append(np.asarray(operands[5].span_bmt))
        return attend(*operands, **options)

    with jax.disable_jit():
        prefill(model.config, model.params, TOKENS, attend=spy)
    routes = observe_routed(model.config, model.params, TOKENS, lambda variant, layer: variant.routes(layer))
    assert len(calls) == len(routes) == model.config.n_layers
    for layer, span_bmt in enumerate(calls):
        np.testing.assert_array_equal(span_bmt == 5, routes[layer] == 0)


def test_a_checkpoint_without_routers_gets_them_from_a_seed():
    model = checkpoint("tiny-moe")
    routed = model.with_layout("routed(5|full)+routed(5|full,per=head)", seed=3)
    attn = routed.params["blocks"]["moe"]["attn"]
    heads = routed.config.n_heads
    chex.assert_shape(attn["span_router_1x2"], (4, 48, 2))
    chex.assert_shape(attn[f"span_router_{heads}x2"], (4, 48, 2 * heads))
    assert np.abs(attn["span_router_1x2"]).max() > 0
    assert "span_router_1x2" not in model.params["blocks"]["moe"]["attn"]
    chex.assert_trees_all_equal(routed.params, random_params_like(routed, seed=3))
    chex.assert_trees_all_equal(variant_params(routed.config, routed.params, 9), routed.params)
    chex.assert_trees_all_equal(model.with_layout("swa(5)").params, model.params)
    logits, _ = prefill(routed.config, routed.params, TOKENS)
    assert np.isfinite(logits).all()


def random_params_like(model: Model, seed: int):
    """The checkpoint's parameters, with those that are only in `random_params` of the layout."""
    drawn, kept = (random_params(model.config, s, jnp.float32)["blocks"]["moe"]["attn"] for s in (seed, 7))
    attn = {name: drawn[name] if name.startswith("span_router") else leaf for name, leaf in kept.items()}
    params = random_params(model.config, 7, jnp.float32)
    return {**params, "blocks": {"moe": params["blocks"]["moe"] | {"attn": attn}}}


def test_a_model_with_gates_learns_from_its_loss_and_its_price():
    model = checkpoint("tiny-dense").with_layout("routed(5|full)")
    config = model.config.with_layout(for_training(model.config.layout, "straight"))
    dense = partial(attend, impl="dense")

    def loss(params):
        logits, _ = prefill(config, params, TOKENS, logits="all", attend=dense)
        gates = observe_routed(
            config, params, TOKENS, lambda v, layer: price(v, span_gates(v, layer), layer.q_pos_bt), attend=dense
        )
        return jax.nn.logsumexp(logits, axis=-1).mean() + sum(gates.values())

    grad = jax.jit(jax.grad(loss))(model.params)["blocks"]["dense"]["attn"]["span_router_1x2"]
    assert np.isfinite(grad).all() and (np.abs(grad).max((1, 2)) > 0).all()
