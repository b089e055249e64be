"""Training a router: gradients against differences, the straight-through forward, and what a price does."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.cost import Heads
from attention.layout import parse_layout, parse_variant
from attention.routers import Periodic
from attention.soft_routing import SoftRouted, for_training, mixture, price, span_gates, straight_through
from tests.attention.layer_inputs import layer_input
from tests.operands import on_device

pytestmark = pytest.mark.usefixtures("fast_compile")

HARD = parse_variant("routed(3|full, sinks=1, per=group)")
HEADS = Heads(6, 2, 5, 7)
LAYER = layer_input(HARD, HEADS, 19)
LAYER = LAYER._replace(x_btd=LAYER.x_btd.at[..., 0].set(1))  # so that the router has a bias
(WEIGHT,) = LAYER.params


def trained(gates: str) -> SoftRouted:
    (variant,) = for_training((HARD,), gates)
    return variant


def with_weight(weight: jax.Array):
    return LAYER._replace(params={WEIGHT: weight})


def test_the_gradient_of_the_soft_mixture_is_its_slope():
    direction = on_device(np.random.default_rng(1).normal(size=LAYER.q_btnh.shape))

    @jax.jit
    def loss(weight):
        return (trained("soft").attend(attend, with_weight(weight)).out_btnh * direction).sum()

    weight = LAYER.params[WEIGHT]
    grad = jax.grad(loss)(weight)
    assert np.abs(grad).max() > 1e-2
    for index in ((0, 0), (2, 1), (6, 3)):
        step = jnp.zeros_like(weight).at[index].set(1e-2)
        slope = (loss(weight + step) - loss(weight - step)) / 2e-2
        np.testing.assert_allclose(grad[index], slope, rtol=1e-2, atol=2e-3)


def test_straight_through_is_the_hard_choice_forward_and_the_soft_gates_backward():
    hard = HARD.attend(partial(attend, impl="dense"), LAYER)
    chex.assert_trees_all_equal(trained("straight").attend(attend, LAYER).out_btnh, hard.out_btnh)
    gates_bmte = span_gates(HARD, LAYER)
    weights = on_device(np.random.default_rng(2).normal(size=gates_bmte.shape))
    chex.assert_trees_all_equal(jax.grad(lambda g: (weights * straight_through(g)).sum())(gates_bmte), weights)
    grad = jax.grad(lambda weight: (trained("straight").attend(attend, with_weight(weight)).out_btnh ** 2).sum())
    assert np.abs(grad(LAYER.params[WEIGHT])).max() > 1e-2


def test_a_one_hot_mixture_is_its_span_and_equal_gates_the_mean():
    spans = [parse_variant(text).attend(attend, LAYER).out_btnh for text in ("swa(3, sinks=1)", "full")]
    gates = jnp.zeros((1, 1, 19, 2))
    for route, expected in enumerate(spans):
        chex.assert_trees_all_close(
            mixture(attend, HARD, LAYER, gates.at[..., route].set(1)).out_btnh, expected, atol=1e-6
        )
    chex.assert_trees_all_close(
        mixture(attend, HARD, LAYER, gates + 0.5).out_btnh, (spans[0] + spans[1]) / 2, atol=1e-6
    )


def test_the_price_is_the_share_of_full_attentions_pairs():
    position = LAYER.q_pos_bt
    full = parse_variant("full").useful(HEADS, 19).pairs
    for route, text in enumerate(("swa(3, sinks=1)", "full")):
        gates = jnp.zeros((1, 2, 19, 2)).at[..., route].set(1)
        expected = parse_variant(text).useful(HEADS, 19).pairs / full
        np.testing.assert_allclose(price(HARD, gates, position), expected, rtol=1e-6)


def test_a_price_moves_tokens_to_the_short_span_and_without_it_the_target_decides():
    """The target is what full attention gives: only the price speaks for looking near."""
    target = parse_variant("full").attend(attend, LAYER).out_btnh

    @partial(jax.jit, static_argnums=0)
    def train(gates, weight_of_price):
        def loss(weight):
            layer, variant = with_weight(weight), trained(gates)
            error = ((variant.attend(attend, layer).out_btnh - target) ** 2).mean()
            return error + weight_of_price * price(variant, span_gates(variant, layer), layer.q_pos_bt)

        def descend(_, weight):
            return weight - 2.0 * jax.grad(loss)(weight)

        return jax.lax.fori_loop(0, 60, descend, LAYER.params[WEIGHT])

    for gates in ("soft", "straight"):
        free, dear = (np.asarray(HARD.routes(with_weight(train(gates, cost)))).mean() for cost in (0.0, 3.0))
        assert dear < 0.25 < 0.6 < free


def test_only_layers_with_a_router_to_train_get_gates():
    layout = parse_layout(["full", "routed(5|full)", "routed(5|full, router=periodic)"], 3)
    soft = for_training(layout)
    assert soft[::2] == layout[::2] and isinstance(soft[1], SoftRouted)
    assert soft[1].params(HEADS) == layout[1].params(HEADS)
    with pytest.raises(ValueError, match="no gates 'hard'; accepted: soft, straight"):
        for_training(layout, "hard")
    with pytest.raises(ValueError, match="the router periodic has nothing to train; accepted: linear"):
        SoftRouted((5,), router=Periodic())
