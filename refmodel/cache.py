"""The model's cache: the states of its layers' mixers, stacked by run of the layer plan, and how much went in."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from attention.checks import float_dtype, whole
from refmodel.plan import Run, layer_plan
from refmodel.specification import ModelConfig


class Cache(NamedTuple):
    """For each run of the layer plan its layers' states (`Mixer.init_state`), stacked in front, and the number of
    tokens per row that went in so far."""

    runs: tuple[Any, ...]
    length: jax.Array


def init_cache(
    config: ModelConfig, batch: int, capacity_tokens: int, dtype: jax.typing.DTypeLike = jnp.float32, *,
    ragged: bool = False,
) -> Cache:  # fmt: skip
    """An empty cache for sequences of up to `capacity_tokens`, padding included.

    A layer whose pattern looks back W tokens gets W - 1 slots (and its sinks).  `ragged` keeps positions per row of
    the batch, for rows of different lengths; otherwise the rows share them, and attention shares its walk.
    """
    whole("batch", batch)
    whole("capacity_tokens", capacity_tokens)
    float_dtype(dtype)

    def empty(run: Run, layers: int) -> Any:
        one = run.variant.init_state(run.layer.heads, batch, capacity_tokens, dtype, ragged=ragged)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (layers, *x.shape)), one)

    plan = layer_plan(config)
    return Cache(tuple(map(empty, plan.runs, plan.layers)), jnp.int32(0))


def cache_bytes(config: ModelConfig, cache: Cache) -> int:
    """Bytes that stand for tokens (keys and values, recurrent states), all layers.

    Examples:
        >>> from refmodel.cache import cache_bytes, init_cache
        >>> from refmodel.presets import preset
        >>> config = preset("tiny-dense").with_layout("swa(5)")
        >>> cache_bytes(config, init_cache(config, batch=1, capacity_tokens=1024)) // (config.n_layers * (5 - 1))
        256
    """
    runs = zip(layer_plan(config).runs, cache.runs, strict=True)
    return sum(run.variant.state_bytes(states) for run, states in runs)
