"""What an evicting layer keeps: slots of keys and values, their positions, and the policy's state."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attention.eviction.policy import CacheShape, Policy, State


class EvictingCache(NamedTuple):
    """Keys and values [B, S, K, H] and positions [B, K, S] of S slots, -1 where one is empty; position order.

    prompt: tokens of the first step, an int32.
    """

    keys: jax.Array
    values: jax.Array
    positions: jax.Array
    state: State
    prompt: jax.Array


def init_evicting_cache(shape: CacheShape, policy: Policy, dtype: jax.typing.DTypeLike) -> EvictingCache:
    """Nothing held yet."""
    keys = jnp.zeros((shape.batch, shape.slots, shape.n_kv_heads, shape.head_dim), dtype)
    empty_bks = jnp.full((shape.batch, shape.n_kv_heads, shape.slots), -1, jnp.int32)
    return EvictingCache(keys, jnp.zeros_like(keys), empty_bks, policy.init_state(shape, dtype), jnp.int32(0))


def append(
    cache: EvictingCache, k_btkh: jax.Array, v_btkh: jax.Array, pos_t: jax.Array, place: jax.Array
) -> EvictingCache:
    """Writes T tokens from slot `place` on."""
    keys, values = (
        lax.dynamic_update_slice_in_dim(x, new.astype(x.dtype), place, axis=1)
        for x, new in ((cache.keys, k_btkh), (cache.values, v_btkh))
    )
    pos_bkt = jnp.broadcast_to(pos_t, (*cache.positions.shape[:2], pos_t.size)).astype(jnp.int32)
    return cache._replace(
        keys=keys,
        values=values,
        positions=lax.dynamic_update_slice_in_dim(cache.positions, pos_bkt, place, axis=2),
    )


def compact(cache: EvictingCache, slots_bkp: jax.Array, end: int) -> EvictingCache:
    """Moves the P slots that `slots_bkp` names to those before `end`, in position order, and empties the others.

    Where a -1 names nothing, the first of the P stay empty: what is kept ends at `end`, where the next token goes.
    """
    index_bkp = jnp.sort(slots_bkp, axis=-1)
    index_bkp = jnp.where(index_bkp < 0, cache.positions.shape[-1], index_bkp)

    def move(x: jax.Array, axis: int, filler: int = 0) -> jax.Array:
        index = jnp.moveaxis(index_bkp, 2, axis)
        index = index.reshape(*index.shape, *[1] * (x.ndim - 3))
        moved = jnp.take_along_axis(x, index, axis, mode="fill", fill_value=filler)
        around = end - moved.shape[axis], x.shape[axis] - end
        ends = [around if i == axis else (0, 0) for i in range(x.ndim)]
        return jnp.pad(moved, ends, constant_values=filler)

    by_slot = jax.tree.map(lambda x: move(x, 2), cache.state.by_slot)
    return cache._replace(
        keys=move(cache.keys, 1),
        values=move(cache.values, 1),
        positions=move(cache.positions, 2, -1),
        state=cache.state._replace(by_slot=by_slot),
    )
