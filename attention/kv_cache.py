"""The ordinary cache of a layer: keys, values and positions, as small as the pattern allows.

A step attends to [what the cache kept, its own tokens] and then keeps what a later query can still see: in position
order after many tokens; one token goes where there is room, and nothing else is moved.  A slot with position -1 is
empty, so a cache is never "full up to an index": masks read positions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attention.attended import Attended
from attention.checks import float_dtype, whole
from attention.cost import Heads
from attention.kernels.derivative import with_derivative_of
from attention.kernels.target import current_target, is_gpu
from attention.kernels.tiles import TRITON_HEAD_SIZES
from attention.pattern import UNBOUNDED, SpanPattern, holds_everything, still_needed
from attention.stacked import Beside, LayerOf, write_layer


class LayerCache(NamedTuple):
    """Keys and values [..., B, C, K, H] and positions [..., B or 1, K or 1, C] of C slots; layers stacked in front.

    What a step attends to may be one layer of a stack that nobody has copied out.
    """

    keys: Any
    values: Any
    positions: Any


Keep = Callable[[Attended], LayerCache]
"""What comes after a step's attention: the stack with what later steps need."""


def init_layer_cache(heads: Heads, batch: int, slots: int, dtype: jax.typing.DTypeLike, *, ragged: bool) -> LayerCache:
    """So many empty slots.  `ragged` keeps positions per row of the batch, for rows of different lengths.

    Raises `ValueError` for a batch of no rows and for a dtype of anything but floats.
    """
    batch, dtype = whole("batch", batch), float_dtype(dtype)
    keys = jnp.zeros((batch, slots, heads.n_kv_heads, heads.head_dim), dtype)
    return LayerCache(keys, jnp.zeros_like(keys), jnp.full((batch if ragged else 1, 1, slots), -1, jnp.int32))


def extend(
    stack: LayerCache,
    layer: jax.Array,
    new: LayerCache,
    length: jax.Array | int,
    pattern: SpanPattern,
    first: bool = False,
) -> tuple[LayerCache, Keep]:
    """Adds a step's keys and values to layer `layer` of `stack`.

    Returns what this step attends to; and what makes, of the attention that was computed of it, the stack with what
    later steps need.  `new.positions` is [B or 1, 1, T].  The `first` step into an empty cache attends to its own
    tokens alone.
    """
    own = new
    new = new._replace(positions=jnp.broadcast_to(new.positions, (*stack.positions.shape[1:3], new.keys.shape[1])))
    slots = stack.keys.shape[2]
    if holds_everything(pattern, slots):
        filled = _append(stack, layer, new, length)
        return own if first else LayerCache(*(LayerOf(x, layer) for x in filled)), lambda _: filled
    beside = LayerCache(*(Beside(LayerOf(x, layer), y.astype(x.dtype)) for x, y in zip(stack, new, strict=True)))
    if new.keys.shape[1] == 1:
        return own if first or not slots else beside, partial(_put, stack, layer, new, pattern)
    joined = LayerCache(*(x.read() for x in beside))
    next_pos = joined.positions.max(-1)[..., None] + 1
    kept = keep(joined, still_needed(pattern, joined.positions, next_pos), slots)
    return own if first else joined, lambda _: write_layer(stack, kept, layer)


def _append(stack: LayerCache, layer: jax.Array, new: LayerCache, slot: jax.Array | int) -> LayerCache:
    """The tokens of all rows from slot `slot` on, which has room for them: a model says so before (`most_tokens`)."""
    if new.keys.shape[1] == 1 and _in_place(stack):
        return _write_token(stack, layer, new, jnp.asarray(slot, jnp.int32).reshape(1))
    return LayerCache(
        *(write_tokens(x, y, layer, slot, axis) for x, y, axis in zip(stack, new, (1, 1, 2), strict=True))
    )


def _put(stack: LayerCache, layer: jax.Array, new: LayerCache, pattern: SpanPattern, attended: Attended) -> LayerCache:
    """One token a row to where an empty slot is, or the oldest key that nobody will see: nothing else is moved.

    The slot may hold what this step's query still saw: `attended` is what came of that, and comes first.
    """
    old_bks, next_pos = LayerOf(stack.positions, layer).read(), new.positions + 1  # padding goes nowhere
    if not old_bks.shape[-1]:
        return stack
    slot_bk = jnp.where(still_needed(pattern, old_bks, next_pos), UNBOUNDED, old_bks).argmin(-1)
    stays_bk = still_needed(pattern, new.positions, next_pos)[..., 0]
    slot_bk = jnp.where(stays_bk, slot_bk, old_bks.shape[-1])  # beyond the last: written nowhere
    if _in_place(stack):
        return _write_token(stack, layer, new, slot_bk[:, 0], attended.out_btnh)
    return LayerCache(*_scatter_token(tuple(stack), tuple(new), layer, slot_bk[:, 0]))


def _scatter_token(
    stacks: tuple[jax.Array, ...], new: tuple[jax.Array, ...], layer: jax.Array, slot_b: jax.Array,
    after: jax.Array | None = None,
) -> tuple[jax.Array, ...]:  # fmt: skip
    """`attention.kernels.pallas_write.write_token` in plain XLA, which orders it by itself."""
    (*_, old_positions), (key, value, positions) = stacks, new
    row_b, everywhere = jnp.arange(key.shape[0]), jnp.broadcast_to(slot_b, key.shape[0])
    keys, values = (
        x.at[layer, row_b, everywhere].set(y[:, 0].astype(x.dtype), mode="drop", unique_indices=True)
        for x, y in zip(stacks[:2], (key, value), strict=True)
    )
    at = layer, jnp.arange(old_positions.shape[1]), 0, jnp.broadcast_to(slot_b, key.shape[0])[: old_positions.shape[1]]
    return keys, values, old_positions.at[at].set(positions[:, 0, 0], mode="drop", unique_indices=True)


def keep(cache: LayerCache, wanted_bks: jax.Array, slots: int) -> LayerCache:
    """The `wanted` entries in position order, in `slots` slots; the first ones where there are more."""
    by_position = jnp.argsort(jnp.where(wanted_bks, cache.positions, UNBOUNDED), axis=-1)[..., :slots]
    positions = jnp.take_along_axis(jnp.where(wanted_bks, cache.positions, -1), by_position, axis=-1)
    index_bsk1 = by_position.swapaxes(1, 2)[..., None]
    keys, values = (jnp.take_along_axis(x, index_bsk1, axis=1) for x in (cache.keys, cache.values))
    return LayerCache(keys, values, positions)


def _in_place(stack: LayerCache) -> bool:
    """Whether the kernel that writes one token is there and takes the heads."""
    return is_gpu(current_target()) and stack.keys.shape[-1] in TRITON_HEAD_SIZES


def _write_token(
    stack: LayerCache, layer: jax.Array, new: LayerCache, slot_b: jax.Array, after: jax.Array | None = None
) -> LayerCache:
    """One token a row to slot `slot_b` [B or 1] of its row, or nowhere: by the kernel."""
    from attention.kernels.pallas_write import write_token  # loads Triton's compiler

    return LayerCache(*with_derivative_of(_scatter_token, write_token)(tuple(stack), tuple(new), layer, slot_b, after))


def write_tokens(stack: jax.Array, new: jax.Array, layer: jax.Array, slot: jax.Array | int, axis: int = 1) -> jax.Array:
    """A stack [L, ...] with what is `new` in one layer, from `slot` on along the layer's `axis`."""
    start = [jnp.int32(0)] * stack.ndim
    start[0], start[axis + 1] = layer, slot
    return lax.dynamic_update_slice(stack, new[None].astype(stack.dtype), start)
