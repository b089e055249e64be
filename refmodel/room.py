"""Whether weights, and a cache, have room, asked before any is read, drawn or made; and what would have."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any, Final

import jax
import jax.numpy as jnp

from refmodel.cache import init_cache
from refmodel.device_memory import free_device_bytes
from refmodel.packed.coding import Coding
from refmodel.packed.rule import weight_bytes
from refmodel.specification import ModelConfig
from refmodel.tree import abstract_params

_MOST_TOKENS: Final = 2**31 - 2
"""Positions are int32, and the largest stands for no limit."""

DECODE_ROOM: Final = 256
"""Tokens that may follow a prompt where nobody says how many: 25 MB of the cache of Qwen3-30B-A3B in bfloat16."""

_BESIDE_BYTES: Final = 16
"""Of a token, beside the cache: the random key it is drawn by, and its id, twice while rows are joined."""


def room_tokens(config: ModelConfig, prompt_tokens: int) -> int:
    """Of the cache of a prompt whose continuation nothing is said of."""
    depends_on_length = config.at_length(prompt_tokens) != config
    return prompt_tokens + (0 if depends_on_length else DECODE_ROOM)


def refuse_what_cannot_fit(
    config: ModelConfig, dtype: Any, coding: Coding | None = None, *, apart: bool = False, kept_bytes: int | None = None
) -> None:
    """Raises `ValueError` where the weights in `dtype`, or in a coding, exceed what is free, with what would fit.

    `kept_bytes` are those of weights that stay packed as their files have them.

    With `apart` they are those of one layer of each stack, and of what is outside the layers.
    """
    free_bytes, item_bytes = free_device_bytes(), jnp.dtype(dtype).itemsize
    numbers, numbers_apart = _numbers(config), _numbers(config.one_of_each_stack)
    asked = numbers_apart if apart else numbers
    needed = bytes_of_weights(config.one_of_each_stack if apart else config, dtype, coding)
    if kept_bytes is not None:
        needed = kept_bytes
    if free_bytes is None or needed <= free_bytes:
        return

    apart_bytes = bytes_of_weights(config.one_of_each_stack, dtype, coding)

    def size(n_bytes: int) -> str:
        return f"{n_bytes / 1e9:.1f} GB" + ", which fits" * (n_bytes <= free_bytes)

    fewer_bits = (
        f"in bfloat16 it takes {size(2 * asked)}; " if item_bytes > 2 and coding is None and kept_bytes is None else ""
    )
    one_each = f"`prefillwall compare --layers-apart` takes {size(apart_bytes)}; " if not apart else ""
    kept_as = coding.name if coding else jnp.dtype(dtype).name if kept_bytes is None else "the formats of its files"
    raise ValueError(
        f"{config.name} needs {size(needed)} of weights{', one layer of each kind,' * apart} in {kept_as}, the device "
        f"has {free_bytes / 1e9:.1f} GB free; {fewer_bits}{one_each}costs need no weights: see `prefillwall crossover`"
    )


def refuse_a_cache_that_cannot_fit(
    config: ModelConfig, batch: int, tokens: int, dtype: Any, weights_bytes: int = 0
) -> None:
    """Raises `ValueError` where the cache of rows of so many `tokens` exceeds what is free, with how many would fit.

    `weights_bytes` are those of weights that are to be read first.
    """
    if tokens > _MOST_TOKENS:
        raise ValueError(f"a cache holds at most {_MOST_TOKENS:,} tokens, for positions are int32, got {tokens:,}")
    free_bytes = free_device_bytes()

    def needed_bytes(tokens: int) -> int:
        cache = jax.eval_shape(lambda: init_cache(config.at_length(tokens), batch, tokens, dtype))
        held = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(cache))
        return held + batch * tokens * _BESIDE_BYTES

    if free_bytes is None or weights_bytes + needed_bytes(tokens) <= free_bytes:
        return
    fit_tokens = bisect_right(range(1, tokens), free_bytes - weights_bytes, key=needed_bytes)
    rows = f"{batch:,} rows of " if batch > 1 else ""
    weights = f" beside {weights_bytes / 1e9:.1f} GB of weights" if weights_bytes else ""
    raise ValueError(
        f"a cache for {rows}{tokens:,} tokens of {config.name} needs {needed_bytes(tokens) / 1e9:.1f} GB in "
        f"{jnp.dtype(dtype).name}{weights}, the device has {free_bytes / 1e9:.1f} GB free; {fit_tokens:,} tokens fit"
    )


def bytes_of_weights(config: ModelConfig, dtype: Any, coding: Coding | None = None) -> int:
    """Of the tree of parameters, in `dtype` or in a coding."""
    return _numbers(config) * jnp.dtype(dtype).itemsize if coding is None else weight_bytes(config, dtype, coding)


def _numbers(config: ModelConfig) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params(config)))
