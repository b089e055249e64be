"""A variant, a policy and a router of somebody else's, no file of the project edited: as objects and by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attention
from attention import SpanPattern, Variant
from attention.cost import Depth, Heads
from attention.evict import Evict
from attention.evict_after import EvictAfter
from attention.eviction.policy import CachedKeys, Policy, State
from attention.eviction.registry import POLICIES
from attention.layout import format_layout, parse_layout
from attention.mixer import Mixer
from attention.pattern import UNBOUNDED, Array
from attention.routers import ROUTERS, Router, Routes
from attention.token_routed import Routed
from attention.variants import VARIANTS
from eval.cost.flops.cross_check import cross_check
from eval.testing import assert_causal, assert_flops_agree, assert_matches_dense
from refmodel.model import prefill, step
from refmodel.presets import preset
from refmodel.schedule import Step, prefill_steps
from refmodel.weights.random import random_params

pytestmark = pytest.mark.usefixtures("fast_compile")

TOKENS = 19


@dataclass(frozen=True)
class Wedge(Variant):
    name = "wedge"

    window: int

    def pattern(self) -> SpanPattern:
        return SpanPattern(span=(self.window,), sink=(self.window,))


class ValueNorm(Policy):
    name = "vnorm"

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        return jnp.linalg.norm(cached.values_bskh.astype(jnp.float32), axis=-1).swapaxes(1, 2)


@dataclass(frozen=True)
class Every(Router):
    """Every `period`-th token of a layer looks far, other ones in the next layer; its parameter is its own."""

    name = "every"
    differs_by_depth = True

    period: int

    def at_positions(self, routes: Routes, pos: Array, layer: Array, xp: ModuleType) -> Array:
        number = pos[..., None, :] + layer + xp.arange(routes.units)[:, None]
        return (number % self.period == 0).astype(xp.int32)


OBJECTS = (
    Wedge(5),
    Evict(ValueNorm(), budget=7, chunk=4, sinks=1),
    EvictAfter(ValueNorm(), budget=7),
    Routed((3, UNBOUNDED), sinks=1, per="group", router=Every(period=5)),
)


def with_parameter(base: type, name: str, kind: type) -> type:
    return dataclasses.make_dataclass(base.__name__, [(name, kind)], bases=(base,), frozen=True)


each = pytest.mark.parametrize("mixer", OBJECTS, ids=lambda mixer: mixer.name)


@each
def test_as_an_object_in_a_model(mixer):
    """One step is chunks (where they are allowed) and decode, in a layout with a tail."""
    config = dataclasses.replace(preset("tiny-dense"), layers=5 * preset("tiny-dense").layers[:1])
    config = config.with_layout([mixer, attention.make("full"), mixer, attention.make("full"), mixer])
    params, tokens_bt = random_params(config, 3, jnp.float32), jnp.arange(2 * TOKENS).reshape(2, TOKENS)
    run = jax.jit(prefill, static_argnums=0, static_argnames=("logits", "chunk_tokens", "capacity_tokens"))
    whole = tokens_bt if not isinstance(mixer, EvictAfter) else tokens_bt[:, :16]  # its prompt is one step
    expected, after = run(config, params, whole, logits="all", capacity_tokens=TOKENS)
    chunk = None if isinstance(mixer, EvictAfter) else 8
    logits, cache = run(config, params, tokens_bt[:, :16], chunk_tokens=chunk, capacity_tokens=TOKENS)
    chex.assert_trees_all_close(logits, expected[:, 15], atol=1e-5)
    decode = jax.jit(step, static_argnums=0)
    for t in range(16, whole.shape[1]):
        logits, cache = decode(config, params, cache, tokens_bt[:, t : t + 1])
        chex.assert_trees_all_close(logits, expected[:, t], atol=1e-5)
    chex.assert_trees_all_equal_shapes(cache, after)


@each
@pytest.mark.parametrize("steps", [prefill_steps(TOKENS), (Step(1, TOKENS),)], ids=["prompt", "decode"])
def test_its_counts_are_those_of_the_program(mixer, steps):
    config = preset("tiny-dense").with_layout(mixer)
    assert cross_check(config, steps, impl="blockwise", compile_too=False).faults == []


@each
@pytest.mark.parametrize("check", [assert_matches_dense, assert_causal, assert_flops_agree])
def test_it_owes_what_all_owe(mixer: Mixer, check: Callable[..., None]):
    check(mixer, tokens=31)


@each
def test_its_name_is_spelled_by_itself_and_read_once_it_is_registered(mixer):
    with VARIANTS.temporarily(), POLICIES.temporarily(), ROUTERS.temporarily():
        with pytest.raises(ValueError, match=r"no (attention variant|eviction policy|router) '(wedge|vnorm|every)'"):
            parse_layout(str(mixer), 2)
        for kind in (Wedge, ValueNorm, Every):
            assert attention.register(kind) is kind
        assert parse_layout(format_layout((mixer, mixer)), 2) == (mixer, mixer)
        given = {f.name: getattr(mixer, f.name) for f in dataclasses.fields(mixer)}
        assert attention.make(mixer.name, **given) == mixer
    assert "every" not in ROUTERS


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (int, "register takes a subclass of Mixer, Policy, Router, BlockRule, got <class 'int'>"),
        (Wedge(5), "got Wedge"),
        (type("Shouting", (Policy,), {"name": "VNorm"}), "Shouting: name must be of a-z, 0-9 and _"),
        (type("Nameless", (Router,), {}), "Nameless: name must be .* got None"),
        (type("Taken", (ValueNorm,), {"name": "h2o"}), "eviction policy 'h2o' is there already"),
        (type("Scoreless", (Policy,), {"name": "none"}), "none: 'score' is missing, which each Policy says itself"),
        (type("Bare", (Variant,), {"name": "bare"}), "bare: 'pattern' is missing, which each Variant says itself"),
        (with_parameter(Wedge, "depth", dict), "wedge: a layout cannot write 'depth' of type dict; accepted: int, int"),
        (with_parameter(ValueNorm, "name", str), "vnorm: 'name' is the class's own and no parameter: say it without a"),
        (with_parameter(ValueNorm, "chunk", int), "vnorm: the variant that it goes into has a parameter 'chunk' too"),
        (
            type("Plain", (ValueNorm,), {"__annotations__": {"gain": float}}),
            "vnorm: 'gain' has a type but is no parameter: @dataclass\\(frozen=True\\) belongs above the class",
        ),
    ],
)
def test_what_cannot_be_registered_is_told(kind, said):
    with pytest.raises(ValueError, match=said):
        attention.register(kind)


def test_routes_of_ones_own_are_looked_up_in_each_layer():
    """The formula of turns is not taken for a router that says its own."""
    mixer, heads = OBJECTS[-1], preset("tiny-dense").heads
    position = np.arange(TOKENS)
    for layer in (0, 1):
        far = [[(p + layer + unit) % 5 == 0 for p in position] for unit in range(heads.n_kv_heads)]
        seen = np.where(far, position + 1, np.minimum(position + 1, 3 + 1)).sum() * (heads.n_heads // heads.n_kv_heads)
        assert mixer.useful(heads, TOKENS, depth=Depth(layer, 4)).pairs == seen


@pytest.mark.parametrize(
    ("base", "name", "of"), [(Variant, "step", "Variant"), (Policy, "window", "Policy"), (Router, "choose", "Router")]
)
def test_a_parameter_may_not_take_the_place_of_a_method(base, name, of):
    with pytest.raises(ValueError, match=f"Mine: a parameter '{name}' would hide {of}.{name}; name it otherwise"):
        type("Mine", (base,), {"name": "mine", "__annotations__": {name: int}})


def test_products_with_keys_are_useful_for_each_visible_pair():
    class Both(Policy):
        """2·H for each query and key of each head, and 3 for each query alone."""

        name = "both"

        def observe_flops(self, heads, keys, queries):
            return 2 * heads.head_dim * heads.n_heads * keys * queries + 3 * queries

    heads = Heads(6, 2, 16)
    assert Both().useful_observe_flops(heads, 5, 6 * 35) == 2 * 16 * 6 * 35 + 3 * 5
