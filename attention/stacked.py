"""States of several layers as one tree, the layers in front: what a loop over layers carries."""

from __future__ import annotations

from typing import Any

import jax
from jax import lax


def read_layer(stack: Any, layer: jax.Array) -> Any:
    """One layer of a stacked tree."""
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, layer, 0, keepdims=False), stack)


def write_layer(stack: Any, new: Any, layer: jax.Array) -> Any:
    """The stacked tree with one layer replaced."""
    return jax.tree.map(lambda x, y: lax.dynamic_update_index_in_dim(x, y.astype(x.dtype), layer, 0), stack, new)
