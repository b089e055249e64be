"""The KV cache: a pytree of keys, values and positions, in position order, as small as the pattern allows.

A step attends to [what the cache kept, its own tokens] and then keeps what a later query can still see.  A slot with
position -1 is empty, so a cache is never "full up to an index": masks read positions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attention.eviction.base import Eviction
from attention.eviction.kept import Kept, init_kept
from attention.pattern import UNBOUNDED, SpanPattern, holds_everything, still_needed
from refmodel.plan import Run, layer_plan
from refmodel.specification import ModelConfig


class LayerCache(NamedTuple):
    """Keys and values [..., B, C, K, H] and positions [..., B or 1, K or 1, C] of C slots; layers stacked in front."""

    keys: jax.Array
    values: jax.Array
    positions: jax.Array


class Cache(NamedTuple):
    """One stacked `LayerCache` per run of the layer plan (`Kept` where keys are evicted), and the number of tokens per
    row that went in so far."""

    runs: tuple[LayerCache | Kept, ...]
    length: jax.Array


def init_cache(
    config: ModelConfig, batch: int, capacity_tokens: int, dtype: jax.typing.DTypeLike = jnp.float32, *,
    ragged: bool = False,
) -> Cache:  # fmt: skip
    """An empty cache for sequences of up to `capacity_tokens`, padding included.

    A layer whose pattern looks back W tokens gets W - 1 slots (and its sinks).  `ragged` keeps positions per row of
    the batch, for rows of different lengths; otherwise the rows share them, and attention shares its walk.
    """
    if batch < 1 or capacity_tokens < 1:
        raise ValueError(f"a cache needs batch >= 1 and capacity_tokens >= 1, got {batch} and {capacity_tokens}")
    plan = layer_plan(config)

    def empty(run: Run, layers: int) -> LayerCache | Kept:
        if isinstance(run.variant, Eviction):
            return empty_kept(run, layers)
        slots = run.variant.cache_tokens(capacity_tokens)
        heads = run.layer.heads
        keys = jnp.zeros((layers, batch, slots, heads.n_kv_heads, heads.head_dim), dtype)
        return LayerCache(
            keys, jnp.zeros_like(keys), jnp.full((layers, batch if ragged else 1, 1, slots), -1, jnp.int32)
        )

    def empty_kept(run: Run, layers: int) -> Kept:
        if ragged:
            raise ValueError(f"{run.variant} evicts by the rows' common length: rows of different lengths need others")
        heads = run.layer.heads
        one = init_kept(run.variant, batch, capacity_tokens, heads.n_heads, heads.n_kv_heads, heads.head_dim, dtype)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (layers, *x.shape)), one)

    return Cache(tuple(map(empty, plan.runs, plan.layers)), jnp.int32(0))


def cache_bytes(cache: Cache) -> int:
    """Bytes of keys and values, all layers."""
    return sum(run.keys.nbytes + run.values.nbytes for run in cache.runs)


def extend(
    stack: LayerCache, layer: jax.Array, new: LayerCache, length: jax.Array, pattern: SpanPattern, first: bool = False
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
        return own if first else read_layer(stack, layer), stack
    old = read_layer(stack, layer)
    joined = LayerCache(*(jnp.concatenate([x, y], axis) for x, y, axis in zip(old, new, (1, 1, 2), strict=True)))
    next_pos = jnp.maximum(new.positions.max(-1), old.positions.max(-1, initial=-1))[..., None] + 1
    kept = keep(joined, still_needed(pattern, joined.positions, next_pos), slots)
    return own if first else joined, write_layer(stack, kept, layer)


def keep(cache: LayerCache, wanted_bks: jax.Array, slots: int) -> LayerCache:
    """The `wanted` entries in position order, in `slots` slots; the first ones where there are more."""
    by_position = jnp.argsort(jnp.where(wanted_bks, cache.positions, UNBOUNDED), axis=-1)[..., :slots]
    positions = jnp.take_along_axis(jnp.where(wanted_bks, cache.positions, -1), by_position, axis=-1)
    index_bsk1 = by_position.swapaxes(1, 2)[..., None]
    keys, values = (jnp.take_along_axis(x, index_bsk1, axis=1) for x in (cache.keys, cache.values))
    return LayerCache(keys, values, positions)


def read_layer(stack: Any, layer: jax.Array) -> Any:
    """One layer of a stacked tree."""
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, layer, 0, keepdims=False), stack)


def write_layer(stack: Any, new: Any, layer: jax.Array) -> Any:
    """The stacked tree with one layer replaced."""
    return jax.tree.map(lambda x, y: lax.dynamic_update_index_in_dim(x, y.astype(x.dtype), layer, 0), stack, new)


def _write(stack: jax.Array, new: jax.Array, layer: jax.Array, slot: jax.Array, axis: int) -> jax.Array:
    start = [jnp.int32(0)] * stack.ndim
    start[0], start[axis + 1] = layer, slot
    return lax.dynamic_update_slice(stack, new[None].astype(stack.dtype), start)
