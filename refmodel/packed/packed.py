"""Arrays of packed weights, as leaves of a parameter tree."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from refmodel.packed.coding import Coding


@partial(
    jax.tree_util.register_dataclass, data_fields=["parts", "slots"], meta_fields=["coding", "shape", "dtype", "outer"]
)
@dataclass(frozen=True)
class Packed:
    """Matrices [..., rows, depth] in a coding; what multiplies by them sums over their last axis.

    Attributes:
        parts: the coding's arrays by name, each with the axes that stand before rows and depth in front.
        shape: of the numbers: layers and experts, where there are, then rows (out) and depth (in).
        dtype: what they are multiplied in.
        slots: where each layer is on the first axis, of a stack that holds some layers of a model; None for all.
        outer: the axes of a product that the rows become, heads and their size; none for the rows as they are.
    """

    parts: Mapping[str, jax.Array]
    coding: Coding
    shape: tuple[int, ...]
    dtype: Any
    outer: tuple[int, ...] = ()
    slots: jax.Array | None = None

    def slot(self, layer: jax.Array) -> jax.Array:
        """Where a layer is on the first axis."""
        return layer if self.slots is None else self.slots[layer]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Numbers."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the parts."""
        return sum(part.size * part.dtype.itemsize for part in self.parts.values())

    def expand(self) -> jax.Array:
        """The numbers, [..., rows, depth] in `dtype`."""
        *_, rows, depth = self.shape
        return self.coding.decode(self.parts, rows, depth).astype(self.dtype)

    def take(self, row: jax.Array) -> jax.Array:
        """Rows of a matrix [rows, depth], [..., depth] in `dtype`: an embedding's."""
        rows, depth = self.shape
        taken = self.coding.decode(self.parts, rows, depth, row.reshape(-1))
        return taken.astype(self.dtype).reshape(*row.shape, depth)

    @property
    def stacked(self) -> Packed:
        """The same with an axis of one layer in front."""
        parts = {name: part[None] for name, part in self.parts.items()}
        return dataclasses.replace(self, parts=parts, shape=(1, *self.shape))

    def at(self, index: jax.Array) -> Packed:
        """A layer, or one of the first axis, copied out where nothing better is made of it."""
        slot = self.slot(index)
        taken = {name: lax.dynamic_index_in_dim(part, slot, 0, keepdims=False) for name, part in self.parts.items()}
        return dataclasses.replace(self, parts=taken, shape=self.shape[1:], slots=None)


def abstract_packed(coding: Coding, shape: tuple[int, ...], dtype: Any, outer: tuple[int, ...] = ()) -> Packed:
    """Shapes and dtypes of the parts, nothing allocated.  Raises `ValueError` for what the coding cannot hold."""
    *lead, rows, depth = shape
    parts: dict[str, Any] = {
        name: jax.ShapeDtypeStruct((*lead, *part), part_dtype)
        for name, (part, part_dtype) in coding.shapes(rows, depth).items()
    }
    return Packed(parts, coding, tuple(shape), jnp.dtype(dtype), outer)
