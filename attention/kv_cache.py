"""The ordinary cache of a layer: keys, values and positions, as small as the pattern allows.

A step attends to [what the cache kept, its own tokens] and then keeps what a later query can still see: in position
order after many tokens, where there was room after one.  A slot with position -1 is empty, so a cache is never "full up
to an index": masks read positions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attention.cost import Heads
from attention.pattern import UNBOUNDED, SpanPattern, holds_everything, still_needed
from attention.stacked import LayerOf, read_layer, write_layer


class LayerCache(NamedTuple):
    """Keys and values [..., B, C, K, H] and positions [..., B or 1, K or 1, C] of C slots; layers stacked in front.

    What a step attends to may be one layer of a stack that nobody has copied out.
    """

    keys: Any
    values: Any
    positions: Any


def init_layer_cache(heads: Heads, batch: int, slots: int, dtype: jax.typing.DTypeLike, *, ragged: bool) -> LayerCache:
    """So many empty slots.  `ragged` keeps positions per row of the batch, for rows of different lengths."""
    keys = jnp.zeros((batch, slots, heads.n_kv_heads, heads.head_dim), dtype)
    return LayerCache(keys, jnp.zeros_like(keys), jnp.full((batch if ragged else 1, 1, slots), -1, jnp.int32))


def extend(
    stack: LayerCache,
    layer: jax.Array,
    new: LayerCache,
    length: jax.Array | int,
    pattern: SpanPattern,
    first: bool = False,
) -> tuple[LayerCache, LayerCache]:
    """Adds a step's keys and values to layer `layer` of `stack`.

    Returns what this step attends to, and the stack with what later steps need.  `new.positions` is [B or 1, 1, T].
    The `first` step into an empty cache attends to its own tokens alone.
    """
    own = new
    new = new._replace(positions=jnp.broadcast_to(new.positions, (*stack.positions.shape[1:3], new.keys.shape[1])))
    slots = stack.keys.shape[2]
    if holds_everything(pattern, slots):
        stack = LayerCache(
            *(_write(x, y, layer, length, axis) for x, y, axis in zip(stack, new, (1, 1, 2), strict=True))
        )
        return own if first else LayerCache(*(LayerOf(x, layer) for x in stack)), stack
    old = read_layer(stack, layer)
    joined = LayerCache(*(jnp.concatenate([x, y], axis) for x, y, axis in zip(old, new, (1, 1, 2), strict=True)))
    next_pos = jnp.maximum(new.positions.max(-1), old.positions.max(-1, initial=-1))[..., None] + 1
    seen = own if first else joined
    if new.keys.shape[1] == 1:
        return seen, _put(stack, layer, new, old.positions, pattern, next_pos)
    kept = keep(joined, still_needed(pattern, joined.positions, next_pos), slots)
    return seen, write_layer(stack, kept, layer)


def _put(
    stack: LayerCache, layer: jax.Array, new: LayerCache, old_bks: jax.Array, pattern: SpanPattern, next_pos: jax.Array
) -> LayerCache:
    """One token a row to where an empty slot is, or the oldest key that nobody will see: nothing else is moved."""
    if not old_bks.shape[-1]:
        return stack
    slot_bk = jnp.where(still_needed(pattern, old_bks, next_pos), UNBOUNDED, old_bks).argmin(-1)
    stays_bk = still_needed(pattern, new.positions, next_pos)[..., 0]
    slot_bk = jnp.where(stays_bk, slot_bk, old_bks.shape[-1])  # beyond the last: written nowhere
    row_b, slot_b = jnp.arange(new.keys.shape[0]), jnp.broadcast_to(slot_bk[:, 0], new.keys.shape[0])
    keys, values = (
        x.at[layer, row_b, slot_b].set(y[:, 0].astype(x.dtype), mode="drop", unique_indices=True)
        for x, y in ((stack.keys, new.keys), (stack.values, new.values))
    )
    at = layer, jnp.arange(len(slot_bk)), 0, slot_bk[:, 0]
    positions = stack.positions.at[at].set(new.positions[:, 0, 0], mode="drop", unique_indices=True)
    return LayerCache(keys, values, positions)


def keep(cache: LayerCache, wanted_bks: jax.Array, slots: int) -> LayerCache:
    """The `wanted` entries in position order, in `slots` slots; the first ones where there are more."""
    by_position = jnp.argsort(jnp.where(wanted_bks, cache.positions, UNBOUNDED), axis=-1)[..., :slots]
    positions = jnp.take_along_axis(jnp.where(wanted_bks, cache.positions, -1), by_position, axis=-1)
    index_bsk1 = by_position.swapaxes(1, 2)[..., None]
    keys, values = (jnp.take_along_axis(x, index_bsk1, axis=1) for x in (cache.keys, cache.values))
    return LayerCache(keys, values, positions)


def _write(stack: jax.Array, new: jax.Array, layer: jax.Array, slot: jax.Array | int, axis: int) -> jax.Array:
    start = [jnp.int32(0)] * stack.ndim
    start[0], start[axis + 1] = layer, slot
    return lax.dynamic_update_slice(stack, new[None].astype(stack.dtype), start)
