"""How a matrix of weights is written in few bits: levels, and what groups of neighbours share.

    weight = number(level) · scale - minimum

Every product sums over the last axis of a matrix [rows, depth], as files hold it ([out, in]); `group` numbers along it
share a scale, and a minimum where the coding has one.  A coding says what a level stands for and how scales are read;
both are element by element, so that the same lines serve numpy-like arrays of a whole matrix and tiles in a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from refmodel.packed.planes import PAIR, plane_shapes, unpack_levels

Scales = tuple[jax.Array, jax.Array | None]
"""float32 scale and minimum of groups; no minimum where a coding has none."""
ReadField = Callable[[str], jax.Array]
"""The items of a field that belong to the groups that are asked for, [..., rows, groups]."""


class Field(NamedTuple):
    """An array of what groups share: an item for `groups` of them along a row and for `rows` rows."""

    dtype: Any
    groups: int = 1
    rows: int = 1

    def shape(self, rows: int, groups: int) -> tuple[int, int]:
        """Of a matrix of so many rows and groups."""
        return -(-rows // self.rows), -(-groups // self.groups)


@dataclass(frozen=True)
class Coding:
    """The base: a format by its name.

    Attributes:
        name: as it is spelt on the command line and in records: "q4_k", "int4(32)".
        bits: of a level: 4, 5, 6 or 8.
        group: numbers along the contraction that share a scale, a multiple of 16; 0 for all of them.
    """

    name: str
    bits: int
    group: int

    @property
    def fields(self) -> Mapping[str, Field]:
        """What groups share."""
        raise NotImplementedError

    @property
    def byte_dtype(self) -> Any:
        """Of levels of 8 bits."""
        return jnp.uint8

    def number(self, level: jax.Array) -> jax.Array:
        """float32: what a level stands for, before its scale; of an int32 level, or of one of `byte_dtype`."""
        raise NotImplementedError

    def scales(self, read: ReadField, group: jax.Array) -> Scales:
        """Of the groups whose numbers along a row are `group`, broadcast against [..., rows, groups]."""
        raise NotImplementedError

    @property
    def block(self) -> int:
        """Numbers that a row has a multiple of: whole groups and whole planes, and what a file keeps together."""
        return math.lcm(self.group or 1, 1 if self.bits == 8 else PAIR)

    def group_size(self, depth: int) -> int:
        """Numbers of a row of `depth` that share a scale.  Raises `ValueError` where it is no whole blocks."""
        if depth % self.block:
            raise ValueError(f"{self.name} takes rows of a multiple of {self.block} numbers, got {depth}")
        return self.group or depth

    def shapes(self, rows: int, depth: int) -> dict[str, tuple[tuple[int, ...], Any]]:
        """{name: (shape, dtype)} of the arrays of a matrix [rows, depth].

        Raises `ValueError` for a depth that the coding cannot hold.
        """
        groups = depth // self.group_size(depth)
        planes = plane_shapes(self.bits, rows, depth)
        if self.bits == 8:
            planes = {"byte": ((rows, depth), self.byte_dtype)}
        return planes | {name: (field.shape(rows, groups), field.dtype) for name, field in self.fields.items()}

    @property
    def is_row_by_row(self) -> bool:
        """Whether each row of a matrix has items of its own, in every array alike."""
        return self.bits in (4, 8) and all(field.rows == 1 for field in self.fields.values())

    def holds(self, depth: int) -> bool:
        """Whether rows of `depth` numbers can be packed."""
        return not depth % self.block

    def check_depth(self, name: str, depth: int) -> None:
        """Raises `ValueError` where rows of the matrix `name`, of `depth` numbers, cannot be packed."""
        if not self.holds(depth):
            step = f"{self.name} packs rows of a multiple of {self.block} numbers"
            raise ValueError(f"{step}, those of {name} have {depth:,}")

    def matrix_bytes(self, rows: int, depth: int) -> int:
        """Of a matrix [rows, depth]."""
        return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in self.shapes(rows, depth).values())

    def bits_per_weight(self, depth: int) -> float:
        """Of a row of `depth`, scales among them."""
        return 8 * self.matrix_bytes(1, depth) / depth

    def draw(self, key: jax.Array, shape: tuple[int, ...], std: float) -> dict[str, jax.Array]:
        """Random parts of matrices [..., rows, depth] whose numbers have about mean 0 and standard deviation `std`.

        Levels are uniform, so that products see every one of them; it stands for weights only where costs are asked.
        """
        *lead, rows, depth = shape
        shapes = {name: ((*lead, *part), dtype) for name, (part, dtype) in self.shapes(rows, depth).items()}
        keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
        planes = {name: self._draw_plane(keys[name], *shapes[name]) for name in shapes if name not in self.fields}
        return planes | {name: self.draw_field(name, keys[name], *shapes[name], std) for name in self.fields}

    def _draw_plane(self, key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        if jnp.issubdtype(dtype, jnp.floating):
            return jax.random.normal(key, shape, jnp.bfloat16).astype(dtype)
        return jax.random.bits(key, shape, f"uint{8 * np.dtype(dtype).itemsize}").view(dtype)

    def draw_field(self, name: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        """Random items of a field, for `draw`."""
        raise NotImplementedError

    def decode(self, parts: Mapping[str, jax.Array], rows: int, depth: int, row: jax.Array | None = None) -> jax.Array:
        """float32 [..., rows, depth] of the arrays of `shapes`, with the same axes in front of each.

        `row` picks rows, [n] of them: then it is [..., n, depth].
        """
        size = self.group_size(depth)
        parts = {name: x if name in self.fields else jax.lax.stop_gradient(x) for name, x in parts.items()}
        if row is not None:
            parts = {name: x if name in self.fields else jnp.take(x, row, axis=-2) for name, x in parts.items()}
        level = parts["byte"] if self.bits == 8 else unpack_levels(parts, self.bits)
        group = jnp.arange(depth // size)

        def read(name: str) -> jax.Array:
            field = self.fields[name]
            items = jnp.take(parts[name], group // field.groups, axis=-1)
            if row is None and field.rows == 1:
                return items
            return jnp.take(items, (jnp.arange(rows) if row is None else row) // field.rows, axis=-2)

        number = self.number(level).reshape(*level.shape[:-1], depth // size, size)
        scale, minimum = self.scales(read, group)
        weight = number * scale[..., None]
        return (weight if minimum is None else weight - minimum[..., None]).reshape(level.shape)
