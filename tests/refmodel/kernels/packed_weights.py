"""Packed weights for tests of what multiplies by them: every width of a level, and groups and fields of all sorts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from refmodel.packed.coding import Coding, Field, Scales
from refmodel.packed.packed import Packed
from refmodel.packed.planes import pack_levels
from refmodel.packed.scaled import Scaled, fp8, int4, int8

NAN = 0x7F
"""Of e4m3."""


@dataclass(frozen=True)
class Shared(Coding):
    """A minimum beside the scale; two groups share an item of one, and 8 rows that of the other."""

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"scale": Field(jnp.float32, groups=2), "minimum": Field(jnp.float16, rows=8)}

    def number(self, level):
        return level.astype(jnp.float32)

    def scales(self, read, group) -> Scales:
        return read("scale") * (1 + group % 2).astype(jnp.float32), read("minimum").astype(jnp.float32)

    def encode(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Random levels and items, whatever the weights."""
        *lead, rows, depth = weight.shape
        rng = np.random.default_rng(rows)
        shapes = {name: shape for name, (shape, _) in self.shapes(rows, depth).items() if name in self.fields}
        level = rng.integers(0, 2**self.bits, weight.shape, np.uint8)
        items = {name: 0.05 * rng.random((*lead, *shape)) for name, shape in shapes.items()}
        fields = {name: item.astype(self.fields[name].dtype) for name, item in items.items()}
        return {**pack_levels(level, self.bits), **fields}


CODINGS = (
    int4(32), int4(128), int4(16), int4(0), int8(128), int8(48), int8(0), fp8(), fp8(32),
    Scaled("five", 5, 32, least=-16), Scaled("six", 6, 16, least=-32),
    Shared("four", 4, 32), Shared("six in 64", 6, 64), Shared("eight", 8, 16),
)  # fmt: skip


def pack(coding: Coding, weight: np.ndarray, outer: tuple[int, ...] = (), dtype=jnp.float32) -> Packed:
    """Float weights [..., rows, depth] in a coding."""
    parts = {name: jnp.asarray(part) for name, part in coding.encode(np.asarray(weight)).items()}
    return Packed(parts, coding, weight.shape, jnp.dtype(dtype), outer)
