"""States of several layers as one tree, the layers in front: what a loop over layers carries."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class LayerOf(NamedTuple):
    """One layer of a stack [L, ...], not yet read: for whoever can read it where it lies."""

    stack: jax.Array
    layer: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the layer."""
        return self.stack.shape[1:]

    @property
    def ndim(self) -> int:
        """Of the layer."""
        return self.stack.ndim - 1

    @property
    def size(self) -> int:
        """Of the layer."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> Any:
        """Of the stack."""
        return self.stack.dtype

    def read(self) -> jax.Array:
        """The layer, copied out where nothing better is made of it."""
        return lax.dynamic_index_in_dim(self.stack, self.layer, 0, keepdims=False)


class Beside(NamedTuple):
    """Slots of one layer of a stack, [B, S, K, H] or positions [B, K, S], and one more behind them: a step's own token,
    which every query of its row sees.  For whoever can read both where they lie."""

    cached: LayerOf
    own: jax.Array

    @property
    def slot_axis(self) -> int:
        return 1 if self.ndim == 4 else 2

    @property
    def shape(self) -> tuple[int, ...]:
        """Of both."""
        shape, axis = self.cached.shape, self.slot_axis
        return (*shape[:axis], shape[axis] + self.own.shape[axis], *shape[axis + 1 :])

    @property
    def ndim(self) -> int:
        """Of both."""
        return self.own.ndim

    @property
    def size(self) -> int:
        """Of both."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> Any:
        """Of both."""
        return self.cached.dtype

    def read(self) -> jax.Array:
        """One array, copied."""
        return jnp.concatenate([self.cached.read(), self.own.astype(self.dtype)], self.slot_axis)


InStack = LayerOf | Beside
"""What nobody has copied out yet."""


def as_array(x: Any) -> Any:
    """An array itself, or what is read out of its stack."""
    return x.read() if isinstance(x, InStack) else x


def in_stack(x: Any) -> LayerOf:
    """The same as a layer of a stack, of its own where it is an array; of what has a token beside it, that layer."""
    if isinstance(x, Beside):
        return x.cached
    return x if isinstance(x, LayerOf) else LayerOf(x[None], jnp.int32(0))


def read_layer(stack: Any, layer: jax.Array) -> Any:
    """One layer of a stacked tree."""
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, layer, 0, keepdims=False), stack)


def write_layer(stack: Any, new: Any, layer: jax.Array) -> Any:
    """The stacked tree with one layer replaced."""
    return jax.tree.map(lambda x, y: lax.dynamic_update_index_in_dim(x, y.astype(x.dtype), layer, 0), stack, new)
