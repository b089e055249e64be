"""Keys of small norm (Devoto et al., 2406.11430)."""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp
from jax import lax

from attention.eviction.policy import CachedKeys, Policy, State

TIE: Final = 2.0**-16
"""Norms that are this close, relatively, are one: rounding in float32 stays far below."""


class Knorm(Policy):
    """score = -|k|: keys of small norm draw much attention.

    In layer 0 equal tokens have keys of equal norm, which the rotation and the shape of a product round apart.  So that
    no rounding chooses, norms within `TIE` of the least of their group are equal, and of equal ones the older stays:
    every cut of a prompt keeps the same, unless so many norms lie so close that groups touch.  This holds for float32.
    Keys in bfloat16 are themselves rounded, by up to 2^-9, which tells equal tokens apart at random: there another cut
    may keep another of them.
    """

    name = "knorm"

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        norm_bks = jnp.linalg.norm(cached.keys_bskh.astype(jnp.float32), axis=-1).swapaxes(1, 2)
        return -_rank(jnp.where(cached.valid_bks, norm_bks, jnp.inf)).astype(jnp.float32)  # exact below 2^24 slots


def _rank(x_bks: jax.Array) -> jax.Array:
    """How many groups of values lie below each, along the last axis; a group is at most `TIE` wide, relatively.

    Values that follow each other more closely are cut at multiples of `TIE` above the first of them.
    """
    order_bks = x_bks.argsort(axis=-1)
    ascending_bks = jnp.take_along_axis(x_bks, order_bks, axis=-1)
    apart_bks = ascending_bks[..., 1:] > ascending_bks[..., :-1] * (1 + TIE)
    starts_bks = jnp.pad(apart_bks, [(0, 0), (0, 0), (1, 0)], constant_values=True)
    first_bks = lax.cummax(jnp.where(starts_bks, ascending_bks, 0), axis=x_bks.ndim - 1)
    above_bks = jnp.where(starts_bks | jnp.isinf(ascending_bks), 0, (ascending_bks / first_bks - 1) / TIE)
    piece_bks = jnp.where(ascending_bks > first_bks, jnp.floor(above_bks), 0)
    later_bks = piece_bks[..., 1:] > piece_bks[..., :-1]
    rank_bks = jnp.pad((apart_bks | later_bks).cumsum(-1), [(0, 0), (0, 0), (1, 0)])
    return jnp.take_along_axis(rank_bks, order_bks.argsort(axis=-1), axis=-1)
