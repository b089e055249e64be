"""Whether weights have room, asked before any is read or drawn; and what would have."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from refmodel.device_memory import free_device_bytes
from refmodel.specification import ModelConfig
from refmodel.tree import abstract_params


def refuse_what_cannot_fit(config: ModelConfig, dtype: Any, *, apart: bool = False) -> None:
    """Raises `ValueError` where the weights in `dtype` exceed what is free, with what would fit.

    With `apart` they are those of one layer of each stack, and of what is outside the layers.
    """
    free_bytes, item_bytes = free_device_bytes(), jnp.dtype(dtype).itemsize
    numbers, numbers_apart = _numbers(config), _numbers(config.one_of_each_stack)
    asked = numbers_apart if apart else numbers
    if free_bytes is None or asked * item_bytes <= free_bytes:
        return

    def size(n_bytes: int) -> str:
        return f"{n_bytes / 1e9:.1f} GB" + ", which fits" * (n_bytes <= free_bytes)

    fewer_bits = f"in bfloat16 it takes {size(2 * asked)}; " if item_bytes > 2 else ""
    one_each = f"`prefillwall compare --layers-apart` takes {size(numbers_apart * item_bytes)}; " if not apart else ""
    raise ValueError(
        f"{config.name} needs {size(asked * item_bytes)} of weights{', one layer of each kind,' * apart} in "
        f"{jnp.dtype(dtype).name}, the device has {free_bytes / 1e9:.1f} GB free; {fewer_bits}{one_each}costs need no "
        "weights: see `prefillwall crossover`"
    )


def _numbers(config: ModelConfig) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params(config)))
