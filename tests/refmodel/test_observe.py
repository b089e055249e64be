"""Routes of a whole model, and routers for a checkpoint that has none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import refmodel
from attention.attend import attend
from attention.soft_routing import for_training, price, span_gates
from refmodel.model import prefill
from refmodel.observe import attention_weights, observe, observe_routed, routes_taken
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


def test_weights_of_keys_are_those_of_the_model_s_own_attention():
    """A window with sinks, an eviction and a route in one model: its own outputs are the weights times the values."""
    layout = "swa(5,sinks=2)+evict(keydiff,budget=7,chunk=3)+routed(4|full,per=head)+full"
    model = checkpoint("tiny-dense").with_layout(layout)
    weights = attention_weights(model.config, model.params, TOKENS, [0, 1, 3], [2, 11, 22])
    rows = np.arange(23)
    for layer, weight_bnqs in weights.items():
        chex.assert_shape(weight_bnqs, (2, model.config.n_heads, 3, 23))
        np.testing.assert_allclose(weight_bnqs.sum(-1), 1, rtol=1e-5)
        assert not np.any(np.asarray(weight_bnqs)[:, :, 0, 3:]), layer
    window = (rows[None] <= [[2], [11], [22]]) & ((rows < 2) | (rows[None] > [[-3], [6], [17]]))
    np.testing.assert_array_equal(np.asarray(weights[0]) != 0, np.broadcast_to(window, weights[0].shape))
    seen = (np.asarray(weights[1]) != 0).sum(-1)
    assert set(seen[:, :, 2].ravel()) == {7 + 2} and set(seen[:, :, 1].ravel()) == {7 + 3}


def test_weights_are_what_the_outputs_are_made_of():
    model = checkpoint("tiny-moe").with_layout("evict(expected_attention,budget=7,chunk=5)+swa(4)")
    seen = {}

    def look(mixer, inputs, now, stack, layer):
        out_btnh = mixer.step(inputs, now, stack, layer)[0].out_btnh
        return out_btnh, inputs.v_btkh

    for layer, (out_btnh, v_btkh) in observe(model.config, model.params, TOKENS, look, [0, 1]).items():
        seen[layer] = out_btnh
        weights_bnts = attention_weights(model.config, model.params, TOKENS, [layer])[layer]
        v_bsnh = v_btkh.repeat(out_btnh.shape[2] // v_btkh.shape[2], axis=2)
        np.testing.assert_allclose(jnp.einsum("bnts,bsnh->btnh", weights_bnts, v_bsnh), out_btnh, atol=2e-5)
    assert len(seen) == 2


def test_what_a_learned_sink_takes_is_missing():
    plain = preset("tiny-dense")
    config = replace(plain, layers=tuple(replace(layer, sink_logits=True) for layer in plain.layers))
    weights = attention_weights(config, random_params(config, 7, jnp.float32), TOKENS, [1], [22])[1]
    assert (weights.sum(-1) < 1).all() and (weights.sum(-1) > 0).all()


@pytest.mark.parametrize(
    ("name", "layers", "queries", "words"),
    [
        ("tiny-dense", 0, None, "layers: a collection of numbers is wanted, got 0"),
        ("tiny-dense", [], None, "one query and one layer at least"),
        ("tiny-dense", [0], [], "one query and one layer at least"),
        ("tiny-dense", [0], 1, "queries: a sequence of places, or None, is wanted, got 1"),
        ("tiny-dense", [4], None, "a layer must be a whole number from 0 to 3, got 4"),
        ("tiny-dense", [0], [23], "a query must be a whole number from 0 to 22, got 23"),
        ("tiny-hybrid", [0], None, "layer 0 of tiny-hybrid is delta"),
    ],
)
def test_what_has_no_weights_is_refused(name, layers, queries, words):
    model = checkpoint(name)
    with pytest.raises(ValueError, match=words):
        attention_weights(model.config, model.params, TOKENS, layers, queries)


def test_weights_of_a_prompt_as_a_list_are_float32_whatever_the_model_is():
    model = refmodel.load("tiny-dense", dtype=jnp.bfloat16)
    weights = attention_weights(model.config, model.params, [3, 1, 4, 1, 5], [0])[0]
    assert weights.dtype == jnp.float32 and weights.shape == (1, model.config.n_heads, 5, 5)
    with pytest.raises(ValueError, match="token id 9999 is not in the vocabulary"):
        attention_weights(model.config, model.params, [3, 9999], [0])


def test_more_weights_than_one_can_look_at_are_refused():
    model = checkpoint("tiny-dense")
    with pytest.raises(ValueError, match="name fewer queries or layers"):
        attention_weights(model.config, model.params, jnp.zeros((1, 20_011), jnp.int32), [0, 2])
