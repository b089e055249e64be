"""What an evicting layer keeps: slots of keys and values, their positions, and the policy's state."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attention.eviction.base import Eviction
from attention.eviction.policy import Shape, State


class Kept(NamedTuple):
    """Keys and values [B, S, K, H] and positions [B, K, S] of S slots, -1 where one is empty; position order."""

    keys: jax.Array
    values: jax.Array
    positions: jax.Array
    state: State


def init_kept(
    eviction: Eviction,
    batch: int,
    capacity_tokens: int,
    n_heads: int,
    n_kv_heads: int,
    head_dim: int,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> Kept:
    """Nothing kept yet, for sequences of up to `capacity_tokens`: `eviction.slots(capacity_tokens)` slots."""
    slots = eviction.slots(capacity_tokens)
    keys = jnp.zeros((batch, slots, n_kv_heads, head_dim), dtype)
    state = eviction.rule.init_state(Shape(batch, slots, n_heads, n_kv_heads, head_dim), dtype)
    return Kept(keys, jnp.zeros_like(keys), jnp.full((batch, n_kv_heads, slots), -1, jnp.int32), state)


def append(kept: Kept, k_btkh: jax.Array, v_btkh: jax.Array, pos_t: jax.Array, place: jax.Array) -> Kept:
    """Writes T tokens from slot `place` on."""
    keys, values = (
        lax.dynamic_update_slice_in_dim(x, new.astype(x.dtype), place, axis=1)
        for x, new in ((kept.keys, k_btkh), (kept.values, v_btkh))
    )
    pos_bkt = jnp.broadcast_to(pos_t, (*kept.positions.shape[:2], pos_t.size)).astype(jnp.int32)
    return kept._replace(
        keys=keys,
        values=values,
        positions=lax.dynamic_update_slice_in_dim(kept.positions, pos_bkt, place, axis=2),
    )


def compact(kept: Kept, slots_bkp: jax.Array) -> Kept:
    """Moves the slots that `slots_bkp` names to the first P, in position order, and empties the others.

    Where a -1 names nothing, the first of the P stay empty: what is kept ends where the next token goes.
    """
    index_bkp = jnp.sort(slots_bkp, axis=-1)
    index_bkp = jnp.where(index_bkp < 0, kept.positions.shape[-1], index_bkp)

    def move(x: jax.Array, axis: int, filler: int = 0) -> jax.Array:
        index = jnp.moveaxis(index_bkp, 2, axis)
        index = index.reshape(*index.shape, *[1] * (x.ndim - 3))
        moved = jnp.take_along_axis(x, index, axis, mode="fill", fill_value=filler)
        ends = [(0, x.shape[axis] - moved.shape[axis] if i == axis else 0) for i in range(x.ndim)]
        return jnp.pad(moved, ends, constant_values=filler)

    by_slot = jax.tree.map(lambda x: move(x, 2), kept.state.by_slot)
    return Kept(
        move(kept.keys, 1), move(kept.values, 1), move(kept.positions, 2, -1), kept.state._replace(by_slot=by_slot)
    )
