"""Routers against their definitions, token by token: of the layer, of each group and of each head."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from attention.cost import Heads
from attention.pattern import UNBOUNDED
from attention.routers import ROUTERS, KeyNorm, Linear, Random, Routes
from attention.token_routed import Routed
from eval.cost.flops.traced import count_flops
from tests.attention.layer_inputs import layer_input
from tests.attention.routes_by_hand import mixed, routes_by_hand

pytestmark = pytest.mark.usefixtures("fast_compile")
HEADS = Heads(6, 2, 5, 11)
SPANS = (5, 37, UNBOUNDED)
ROUTED_BY = {"random": Random(7), "keynorm": KeyNorm(1.3)}


@pytest.mark.parametrize("per", ["layer", "group", "head"])
@pytest.mark.parametrize("name", ROUTERS)
def test_a_route_is_that_of_the_definition(name, per):
    """In the middle of a sequence: a token's own key is not the first of those that are held."""
    variant = Routed(SPANS, per=per, router=ROUTED_BY.get(name) or ROUTERS[name]())
    layer = layer_input(variant, HEADS, 29, 19)
    expected = routes_by_hand(variant, layer)
    np.testing.assert_array_equal(np.broadcast_to(variant.routes(layer), expected.shape), expected)
    assert set(expected.ravel()) == {0, 1, 2}


def test_of_equal_logits_the_first_route_is_taken():
    variant = Routed(SPANS, per="group")
    layer = layer_input(variant, HEADS, 3)
    layer = layer._replace(params={name: 0 * x for name, x in layer.params.items()})
    assert not variant.routes(layer).any()


def test_the_norm_is_that_of_the_tokens_own_key_wherever_it_is_held():
    """Rows of different lengths, the second with padding behind it, whose keys begin at other slots."""
    variant = Routed(SPANS, per="group", router=KeyNorm(1.3))
    layer = layer_input(variant, HEADS, 5, 8)
    held = np.full((2, 1, 13), -1, np.int32)
    held[0, 0, :9], held[1, 0, 3:10] = np.arange(20, 29), np.arange(9, 16)
    q_pos_bt = np.array([[24, 25, 26, 27, 28], [13, 14, 15, -1, -1]], np.int32)
    routes = variant.routes(layer._replace(q_pos_bt=jnp.asarray(q_pos_bt), kv_pos_bks=jnp.asarray(held)))
    norm_bsk = np.linalg.norm(np.asarray(layer.k_bskh, np.float64), axis=-1)
    for row, slots in ((0, slice(4, 9)), (1, slice(7, 10))):
        wanted = np.minimum(norm_bsk[row, slots] / 1.3, 2).astype(int).T
        np.testing.assert_array_equal(routes[row, :, : wanted.shape[1]], wanted)


@pytest.mark.parametrize(("x", "hashed"), [(0, 0), (1, 0x514E28B7), (2, 0x30F4C306), (0xFFFFFFFF, 0x81F16F39)])
def test_the_hash_of_the_definition_is_the_published_one(x, hashed):
    assert mixed(x) == hashed


@pytest.mark.parametrize("name", ROUTERS)
def test_flops_are_those_of_its_products(name):
    router, routes = ROUTED_BY.get(name) or ROUTERS[name](), Routes(3, 2)
    layer = layer_input(Routed(SPANS, per="group", router=router), HEADS, 29, batch=1)
    traced = count_flops(lambda layer: router.choose(routes, layer), layer).total
    assert router.flops(HEADS, routes, 29) == traced == (2 * 29 * 11 * 6 if isinstance(router, Linear) else 0)


@pytest.mark.parametrize("router", ["linear", "keynorm"])
def test_counts_take_turns_for_what_only_tokens_tell(router):
    """At an even position a program that asks for the route is counted on the first of two, at an odd on the second."""
    variant = Routed((1, UNBOUNDED), router=ROUTED_BY.get(router) or ROUTERS[router]())
    layer, square = layer_input(variant, HEADS, 7, batch=1), jnp.eye(5)
    own = variant.router.flops(HEADS, variant.routes_of(HEADS), 7)
    for token in range(4):

        def program(x_btd, k_bskh, token=token):
            route = variant.routes(layer._replace(x_btd=x_btd, k_bskh=k_bskh))[0, 0, token]
            return lax.switch(route, (lambda: square @ square, lambda: square @ square @ square))

        assert count_flops(program, layer.x_btd, layer.k_bskh).total == own + (1 + token % 2) * 2 * 5**3


@pytest.mark.parametrize("threshold", [0.0, -1.0, np.inf, np.nan])
def test_a_threshold_is_a_number_above_zero(threshold):
    with pytest.raises(ValueError, match=f"the router keynorm needs a threshold above 0, got {threshold}"):
        KeyNorm(threshold)
