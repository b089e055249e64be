"""Training a router of spans: gates instead of a choice, so that there is something to differentiate, and a price.

    soft        y = sum_e g_e · y_e,  g = softmax(x·W)      every span is computed, and weighted
    straight    the same with g one-hot at its maximum, whose gradient is the softmax's: forward, the hard choice
    price       mean over the tokens of sum_e g_e · keys_e / keys_full      what the gates cost, 1 if all look far

Minimise loss + weight · price; then use the same parameters hard, in `routed(...)`.  Every token goes through every
span, in memory linear in the prompt.  As All-or-Here (2512.22562) trains its gates.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax

from attention.attended import Attended, AttendFn
from attention.layout import Layout
from attention.pattern import UNBOUNDED, SpanPattern
from attention.routers import Linear
from attention.token_routed import Routed, heads_of
from attention.variant import LayerInput

__all__ = ["for_training", "mixture", "price", "span_gates"]

Gates = Literal["soft", "straight"]


@dataclass(frozen=True)
class SoftRouted(Routed):
    """`Routed` with gates, for training; no layout string names it.  Its parameters are those of `Routed`."""

    gates: str = "soft"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gates not in get_args(Gates):
            raise ValueError(f"no gates {self.gates!r}; accepted: {', '.join(get_args(Gates))}")
        if not isinstance(self.router, Linear):
            raise ValueError(f"the router {self.router.name} has nothing to train; accepted: linear")

    def attend(self, attend: AttendFn, layer: LayerInput) -> Attended:
        gates_bmte = span_gates(self, layer)
        if self.gates == "straight":
            gates_bmte = straight_through(gates_bmte)
        return mixture(attend, self, layer, gates_bmte)


def for_training(layout: Layout, gates: Gates = "soft") -> Layout:
    """The layout with gates in each of its layers that has a router to train."""
    return tuple(
        SoftRouted(**{f.name: getattr(variant, f.name) for f in dataclasses.fields(Routed)}, gates=gates)
        if isinstance(variant, Routed) and isinstance(variant.router, Linear)
        else variant
        for variant in layout
    )


def span_gates(variant: Routed, layer: LayerInput) -> jax.Array:
    """Gates of every span: softmax of the router's logits, float32 [B, M, T, E]."""
    assert isinstance(variant.router, Linear)
    return jax.nn.softmax(variant.router.logits(variant.routes_of(heads_of(layer)), layer), axis=-1)


def straight_through(gates_bmte: jax.Array) -> jax.Array:
    """One-hot at the greatest gate, exactly; the gradient is that of the gates."""
    hard = jax.nn.one_hot(gates_bmte.argmax(-1), gates_bmte.shape[-1], dtype=gates_bmte.dtype)
    return hard + (gates_bmte - lax.stop_gradient(gates_bmte))


def mixture(attend: AttendFn, variant: Routed, layer: LayerInput, gates_bmte: jax.Array) -> Attended:
    """The mixture sum_e g_e · y_e, where y_e is attention with everybody on route e."""
    n_heads, parts, total = layer.q_btnh.shape[2], [], jnp.float32(0)
    for route, span in enumerate(variant.spans):
        pattern = SpanPattern((span,), (variant.sinks,))
        parts.append(attend(layer.q_btnh, layer.k_bskh, layer.v_bskh, layer.q_pos_bt, layer.kv_pos_bks, pattern))
        gate_bmt = gates_bmte[..., route]
        gate_btn = gate_bmt.repeat(n_heads // gate_bmt.shape[1], axis=1).swapaxes(1, 2)
        total += gate_btn[..., None] * parts[-1].out_btnh
    return replace(parts[-1].after(*parts[:-1]), out_btnh=total.astype(layer.q_btnh.dtype), lse_bnt=None)


def price(variant: Routed, gates_bmte: jax.Array, q_pos_bt: jax.Array) -> jax.Array:
    """Expected visible keys over those of full attention, both summed over the tokens: a scalar in (0, 1]."""
    full_b1t = q_pos_bt[:, None] + 1  # 0 for padding
    keys = sum(
        (gates_bmte[..., route] * jnp.minimum(full_b1t, min(most, UNBOUNDED))).sum()
        for route, most in enumerate(variant.most_keys.tolist())
    )
    return keys / jnp.broadcast_to(full_b1t, gates_bmte.shape[:3]).sum()
