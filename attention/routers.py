"""Routers: which of E routes a token's query takes, from that token alone, so that no later token has a say.

A router that reads positions only is known before any run; for the others, counts assume that routes take turns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attention.assumption import assumed_in_counts
from attention.cost import Heads
from attention.parameters import Part
from attention.pattern import Array
from attention.registry import Registry
from attention.stacked import Beside, as_array
from attention.variant import LayerInput


class Routes(NamedTuple):
    """What a variant asks of its router: one of E routes for each of M units, the whole layer, its key-value heads or
    its query heads."""

    n_routes: int
    units: int


@dataclass(frozen=True)
class Router(Part):
    """Base: a subclass has a `name` and chooses; a frozen dataclass if it has parameters, which are its own alone."""

    reads_tokens: ClassVar[bool] = False
    """Whether the choice depends on what the token is; else `at_positions` is it."""
    differs_by_depth: ClassVar[bool] = False
    """Whether `at_positions` is another in each layer, so that counts have to look it up there."""
    draws_lots: ClassVar[bool] = False
    """Whether `at_positions` is as good as independent draws, all routes alike."""

    def params(self, heads: Heads, routes: Routes) -> Mapping[str, tuple[int, ...]]:
        """Shapes of its parameters in one layer; each multiplies every token."""
        return {}

    def flops(self, heads: Heads, routes: Routes, tokens: int) -> int:
        """Of its products."""
        return 2 * tokens * sum(map(math.prod, self.params(heads, routes).values()))

    def at_positions(self, routes: Routes, pos: Array, layer: Array, xp: ModuleType = np) -> Array:
        """Routes [..., M, T] of tokens at positions [..., T] in layer number `layer`; assumed ones if it reads tokens.

        Here: turns, (position + unit) mod E.
        """
        return (pos[..., None, :] + xp.arange(routes.units)[:, None]) % routes.n_routes

    def choose(self, routes: Routes, layer: LayerInput) -> jax.Array:
        """Routes of a step's tokens, int32 [B or 1, M, T]."""
        return self.at_positions(routes, layer.q_pos_bt, layer.depth, jnp).astype(jnp.int32)


class Linear(Router):
    """`linear`: argmax_e x·W, learned, W [D, M·E]; the first of equals.  float32 at full precision, as experts are.

    The form of All-or-Here (2512.22562), L2A (2603.17484) and SwiAttn (2603.26380); the other routers are controls.
    """

    name = "linear"
    reads_tokens = True

    def params(self, heads: Heads, routes: Routes) -> Mapping[str, tuple[int, ...]]:
        return {_weight(routes): (heads.d_model, routes.units * routes.n_routes)}

    def logits(self, routes: Routes, layer: LayerInput) -> jax.Array:
        """float32 [B, M, T, E]."""
        x_btd, weight_dr = (x.astype(jnp.float32) for x in (layer.x_btd, layer.params[_weight(routes)]))
        logits_btr = jnp.einsum("btd,dr->btr", x_btd, weight_dr, precision="highest")
        return logits_btr.reshape(*logits_btr.shape[:2], routes.units, routes.n_routes).swapaxes(1, 2)

    def choose(self, routes: Routes, layer: LayerInput) -> jax.Array:
        return self.logits(routes, layer).argmax(-1).astype(jnp.int32)


class Periodic(Router):
    """`periodic`: routes take turns, (position + unit) mod E."""

    name = "periodic"


@dataclass(frozen=True)
class Random(Router):
    """`random`: uniform, a hash of (seed, layer, unit, position), so that steps of any length agree."""

    name = "random"
    differs_by_depth = True
    draws_lots = True

    seed: int = 0

    def at_positions(self, routes: Routes, pos: Array, layer: Array, xp: ModuleType = np) -> Array:
        words = (xp.asarray(layer), xp.arange(routes.units)[:, None], pos[..., None, :])
        state = _mixed(xp.asarray([~self.seed & 0xFFFFFFFF], xp.uint32))
        for word in words:
            state = _mixed(state ^ word.astype(xp.uint32))
        return (state % xp.uint32(routes.n_routes)).astype(xp.int32)


@dataclass(frozen=True)
class KeyNorm(Router):
    """`keynorm`: min(floor(|k| / threshold), E - 1), k the token's own key; the mean norm of the keys of a layer.

    With two routes: the second from the threshold on.  A fixed threshold is causally safe; a quantile is not.
    """

    name = "keynorm"
    reads_tokens = True

    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.threshold < math.inf:
            raise ValueError(f"the router keynorm needs a threshold above 0, got {self.threshold}")

    def choose(self, routes: Routes, layer: LayerInput) -> jax.Array:
        norm_bkt = jnp.linalg.norm(_own_keys(layer).astype(jnp.float32), axis=-1).swapaxes(1, 2)
        repeats = routes.units // norm_bkt.shape[1]
        norm_bmt = norm_bkt.mean(1, keepdims=True) if routes.units == 1 else norm_bkt.repeat(repeats, 1)
        return jnp.minimum(norm_bmt / self.threshold, routes.n_routes - 1).astype(jnp.int32)


ROUTERS: Final[Registry[type[Router]]] = Registry(
    "router", lambda router: router.name, (Linear, Periodic, Random, KeyNorm)
)
"""The routers that a layout can name; one of your own comes in by `attention.register`."""


SPAN_ROUTER: Final = "span_router_"
"""What the names of routers' parameters begin with."""


@jax.named_scope("selection")
def route(router: Router, routes: Routes, layer: LayerInput) -> jax.Array:
    """Routes of a step's tokens, int32 [B or 1, M, T], with what counts are to assume."""
    route_bmt = router.choose(routes, layer)
    if not router.reads_tokens:
        return route_bmt
    assumed = router.at_positions(routes, layer.q_pos_bt, layer.depth, jnp).astype(jnp.int32)
    return assumed_in_counts(route_bmt, jnp.broadcast_to(assumed, route_bmt.shape))


def _weight(routes: Routes) -> str:
    """The parameter's name, of its own for each shape: layers of one model may differ."""
    return f"{SPAN_ROUTER}{routes.units}x{routes.n_routes}"


def _mixed(x: Array) -> Array:
    """MurmurHash3's finaliser, a bijection of 32 bits that leaves no trace of order (Appleby, public domain)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> shift)) * np.uint32(factor)
    return x ^ (x >> 16)


def _own_keys(layer: LayerInput) -> jax.Array:
    """The keys of the step's own tokens, [B, T, K, H]: a run of slots, found by the position of its last token."""
    if isinstance(layer.k_bskh, Beside):
        return layer.k_bskh.own
    tokens = layer.q_pos_bt.shape[1]
    last_b1 = layer.q_pos_bt.argmax(1)[:, None]
    slot_b = (as_array(layer.kv_pos_bks)[:, 0] == jnp.take_along_axis(layer.q_pos_bt, last_b1, 1)).argmax(1)
    first_b = jnp.broadcast_to(slot_b - last_b1[:, 0], layer.k_bskh.shape[0])
    own_keys = jax.vmap(lambda keys, first: lax.dynamic_slice_in_dim(keys, first, tokens))
    return own_keys(as_array(layer.k_bskh), first_b)
