"""Every registered variant, policy and router can be trained; and where gradients are wrong, that is said."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from attention.attended import Attended
from attention.backends.blockwise import Blockwise
from attention.backends.dense import Dense
from attention.backends.registry import BACKENDS
from attention.eviction.registry import POLICIES
from attention.layout import parse_variant
from attention.routers import ROUTERS
from eval.testing import assert_gradients_match_dense
from tests.examples import EXAMPLES

pytestmark = pytest.mark.usefixtures("fast_compile")

LONGER = [pytest.param(tokens, marks=pytest.mark.long) for tokens in (64, 2048)]

POLICY_LAYOUTS = [f"evict({name}, budget=40, chunk=40, sinks=2, recent=5)" for name in POLICIES]
ROUTER_LAYOUTS = [
    f"routed(5|full, sinks=2, router={name}{', threshold=3.7' if name == 'keynorm' else ''})" for name in ROUTERS
]


class Forgetful(Blockwise):
    """No gradient reaches its keys."""

    name = "forgetful"
    place = None

    def run(self, operands, *, need_lse: bool) -> Attended:
        return super().run(operands._replace(k_bskh=jax.lax.stop_gradient(operands.k_bskh)), need_lse=need_lse)


class Infinite(Blockwise):
    """Its queries' gradient is no number."""

    name = "infinite"
    place = None

    def run(self, operands, *, need_lse: bool) -> Attended:
        q = operands.q_btnh
        return super().run(operands._replace(q_btnh=q + jnp.sqrt(jnp.zeros_like(q) * q)), need_lse=need_lse)


def test_an_oracle_without_numbers_passes_nobody(monkeypatch):
    run = Dense.run

    def no_number(self, operands, **options):
        q = operands.q_btnh
        return run(self, operands._replace(q_btnh=q + jnp.sqrt(jnp.zeros_like(q) * q)), **options)

    monkeypatch.setattr(Dense, "run", no_number)
    with pytest.raises(AssertionError, match=r"\(dense, .*the gradient by q_btnh is not finite"):
        assert_gradients_match_dense(parse_variant("swa(7)"), tokens=31)


@pytest.mark.parametrize("tokens", [pytest.param(64, marks=pytest.mark.slow), 512])
def test_a_window_has_the_gradients_of_its_mask(tokens):
    assert_gradients_match_dense(parse_variant("swa(29, sinks=3)"), tokens=tokens)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (Forgetful(), r"swa\(7\) \(forgetful, .*\): the gradient by k_btkh is not that of dense attention: it differs"),
        pytest.param(
            Infinite(),
            r"swa\(7\) \(infinite, .*\): the gradient by q_btnh is not finite",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_wrong_is_named(backend, message):
    with BACKENDS.temporarily(backend), pytest.raises(AssertionError, match=message):
        assert_gradients_match_dense(parse_variant("swa(7)"), tokens=31, impl=backend.name)


@pytest.mark.parametrize("tokens", [pytest.param(512, marks=pytest.mark.slow), *LONGER])
@pytest.mark.parametrize("text", EXAMPLES)
def test_every_variant_has_the_gradients_of_its_mask(text, tokens):
    assert_gradients_match_dense(parse_variant(text), tokens=tokens)


@pytest.mark.long
@pytest.mark.parametrize("text", [*POLICY_LAYOUTS, *ROUTER_LAYOUTS])
def test_gradients_flow_through_what_was_chosen(text):
    assert_gradients_match_dense(parse_variant(text), tokens=131)
