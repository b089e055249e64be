"""Routers: which of E routes a token's query takes, from that token alone, so that no later token has a say.

A router that reads positions only is known before any run; for the others, counts assume that routes take turns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import ClassVar, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attention.assumption import assumed_in_counts
from attention.cost import Heads
from attention.pattern import Array
from attention.variant import LayerInput


@dataclass(frozen=True)
class Router:
    """E routes for each of M units: the whole layer, its key-value heads or its query heads.

    `settings` names the parameters that this router reads, of `seed` and `threshold`.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    reads_tokens: ClassVar[bool] = False

    n_routes: int
    units: int
    seed: int = 0
    threshold: float = 0.0

    def params(self, heads: Heads) -> Mapping[str, tuple[int, ...]]:
        """Shapes of its parameters in one layer; each multiplies every token."""
        return {}

    def flops(self, heads: Heads, tokens: int) -> int:
        """Of its products."""
        return 2 * tokens * sum(map(math.prod, self.params(heads).values()))

    def at_positions(self, pos: Array, depth: Array, xp: ModuleType = np) -> Array:
        """Routes [..., M, T] of tokens at positions [..., T] in layer `depth`; assumed ones if it reads tokens.

        Here: turns, (position + unit) mod E.
        """
        return (pos[..., None, :] + xp.arange(self.units)[:, None]) % self.n_routes

    def choose(self, layer: LayerInput) -> jax.Array:
        """Routes of a step's tokens, int32 [B or 1, M, T]."""
        return self.at_positions(layer.q_pos_bt, layer.depth, jnp).astype(jnp.int32)


class Periodic(Router):
    """`periodic`: routes take turns, (position + unit) mod E."""


class Random(Router):
    """`random`: uniform, a hash of (seed, layer, unit, position), so that steps of any length agree."""

    settings = ("seed",)

    def at_positions(self, pos: Array, depth: Array, xp: ModuleType = np) -> Array:
        words = (xp.asarray(depth), xp.arange(self.units)[:, None], pos[..., None, :])
        state = _mixed(xp.asarray([~self.seed & 0xFFFFFFFF], xp.uint32))
        for word in words:
            state = _mixed(state ^ word.astype(xp.uint32))
        return (state % xp.uint32(self.n_routes)).astype(xp.int32)


class KeyNorm(Router):
    """`keynorm`: min(floor(|k| / threshold), E - 1), k the token's own key; the mean norm of the keys of a layer.

    With two routes: the second from the threshold on.  A fixed threshold is causally safe; a quantile is not.
    """

    settings = ("threshold",)
    reads_tokens = True

    def choose(self, layer: LayerInput) -> jax.Array:
        norm_bkt = jnp.linalg.norm(_own_keys(layer).astype(jnp.float32), axis=-1).swapaxes(1, 2)
        n_kv_heads = norm_bkt.shape[1]
        norm_bmt = norm_bkt.mean(1, keepdims=True) if self.units == 1 else norm_bkt.repeat(self.units // n_kv_heads, 1)
        return jnp.minimum(norm_bmt / self.threshold, self.n_routes - 1).astype(jnp.int32)


class Linear(Router):
    """`linear`: argmax_e x·W, learned, W [D, M·E]; the first of equals.  float32 at full precision, as experts are."""

    reads_tokens = True

    def params(self, heads: Heads) -> Mapping[str, tuple[int, ...]]:
        return {self.weight: (heads.d_model, self.units * self.n_routes)}

    @property
    def weight(self) -> str:
        """The parameter's name, of its own for each shape: layers of one model may differ."""
        return f"span_router_{self.units}x{self.n_routes}"

    def logits(self, layer: LayerInput) -> jax.Array:
        """float32 [B, M, T, E]."""
        x_btd, weight_dr = (x.astype(jnp.float32) for x in (layer.x_btd, layer.params[self.weight]))
        logits_btr = jnp.einsum("btd,dr->btr", x_btd, weight_dr, precision="highest")
        return logits_btr.reshape(*logits_btr.shape[:2], self.units, self.n_routes).swapaxes(1, 2)

    def choose(self, layer: LayerInput) -> jax.Array:
        return self.logits(layer).argmax(-1).astype(jnp.int32)


ROUTERS: Final[MappingProxyType[str, type[Router]]] = MappingProxyType(
    {"linear": Linear, "periodic": Periodic, "random": Random, "keynorm": KeyNorm}
)
"""By the name that layouts use."""


@jax.named_scope("selection")
def route(router: Router, layer: LayerInput) -> jax.Array:
    """Routes of a step's tokens, int32 [B or 1, M, T], with what counts are to assume."""
    route_bmt = router.choose(layer)
    if not router.reads_tokens:
        return route_bmt
    assumed = router.at_positions(layer.q_pos_bt, layer.depth, jnp).astype(jnp.int32)
    return assumed_in_counts(route_bmt, jnp.broadcast_to(assumed, route_bmt.shape))


def _mixed(x: Array) -> Array:
    """MurmurHash3's finaliser, a bijection of 32 bits that leaves no trace of order (Appleby, public domain)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> shift)) * np.uint32(factor)
    return x ^ (x >> 16)


def _own_keys(layer: LayerInput) -> jax.Array:
    """The keys of the step's own tokens, [B, T, K, H]: a run of slots, found by the position of its last token."""
    tokens = layer.q_pos_bt.shape[1]
    last_b1 = layer.q_pos_bt.argmax(1)[:, None]
    slot_b = (layer.kv_pos_bks[:, 0] == jnp.take_along_axis(layer.q_pos_bt, last_b1, 1)).argmax(1)
    first_b = jnp.broadcast_to(slot_b - last_b1[:, 0], len(layer.k_bskh))
    return jax.vmap(lambda keys, first: lax.dynamic_slice_in_dim(keys, first, tokens))(layer.k_bskh, first_b)
