"""What a feed-forward's gate does to what it gates (Shazeer, 2002.05202)."""

from __future__ import annotations

import math
from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from refmodel.parts import Activation, ClampedSwish

_LOG2_E: Final = math.log2(math.e)


def gated(
    gate: Float[Array, "*axes f"], up: Float[Array, "*axes f"], activation: Activation
) -> Float[Array, "*axes f"]:
    """activation(gate) · up, of silu or of the GELU that is made of tanh; `ClampedSwish` as `refmodel.parts` has it."""
    match activation:
        case "silu":
            return jax.nn.silu(gate) * up
        case "gelu_tanh":
            return jax.nn.gelu(gate, approximate=True) * up
        case ClampedSwish(slope, limit):
            gate, up = jnp.minimum(gate, limit), jnp.clip(up, -limit, limit)
            return gate * jax.nn.sigmoid(slope * gate) * (up + 1)


def gated_by_exp2(gate: jax.Array, up: jax.Array, activation: Activation) -> jax.Array:
    """`gated` for float32 in kernels, whose fast function is 2^x: gate · sigmoid(z) · up, each with a z of its own."""
    z = gate
    match activation:
        case "gelu_tanh":  # (1 + tanh(y)) / 2 = sigmoid(2y)
            z = (8 / math.pi) ** 0.5 * gate * (1 + 0.044715 * gate * gate)
        case ClampedSwish(slope, limit):
            gate, up = jnp.minimum(gate, limit), jnp.minimum(jnp.maximum(up, -limit), limit) + 1
            z = slope * gate
    return gate / (1 + jnp.exp2(z * -_LOG2_E)) * up
