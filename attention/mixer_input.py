"""What a layer gives its mixer in one step: the operands, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from attention.attended import AttendFn
from attention.cost import Depth


class MixerInput(NamedTuple):
    """What a layer gives its mixer in one step of T tokens.

    Attributes:
        x_btd: the normed input of the projections.
        q_btnh, k_btkh, v_btkh: queries, keys and values of the step's tokens, rotary positions applied.  Where a
            mixer's layer has projections of its own, all four are what `Mixer.operands` says.
        params: the mixer's parameters in this layer, by the names of `Mixer.params`.
    """

    x_btd: jax.Array
    q_btnh: jax.Array
    k_btkh: jax.Array
    v_btkh: jax.Array
    params: Mapping[str, jax.Array]


Rotate = Callable[[jax.Array, jax.Array], jax.Array]
"""Heads [B, T, M, *] at positions [B or 1, T], turned as the layer's own queries and keys are."""


def unturned(x_btmh: jax.Array, pos_bt: jax.Array) -> jax.Array:
    """Of a layer without positions."""
    return x_btmh


class StepContext(NamedTuple):
    """What is known of the step beside its operands.

    Attributes:
        q_pos_bt: positions of the step's tokens, [B or 1, T]; -1 is padding.
        length: tokens per row that went in before.
        attend: `attention.attend.attend` or a function with its signature.
        depth: which layer this is, its number an int32.
        first: whether nothing is known to have gone in before.
        in_order: whether, besides, the step's tokens are known to stand at positions 0, 1, 2, ...
        rope_theta: base of the rotary positions; None where unknown.
        rotate: what rotary positions do to heads of any size, for those that a mixer projects itself.
    """

    q_pos_bt: jax.Array
    length: jax.Array | int
    attend: AttendFn
    depth: Depth
    first: bool = False
    in_order: bool = False
    rope_theta: float | None = None
    rotate: Rotate = unturned
