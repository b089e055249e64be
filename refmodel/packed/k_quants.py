"""llama.cpp's K-quants: super-blocks of 256 numbers, whose groups have whole scales of a few bits.

Q4_K, Q5_K    weight = d · scale · level - dmin · minimum    groups of 32; scale and minimum of 6 bits
Q6_K          weight = d · scale · (level - 32)              groups of 16; scale of 8 bits, signed

Every product is exact in float32 (11 bits of d, 6 of a scale, 5 of a level; 11 + 8 + 5), so that a fused multiply-add
rounds as two operations do, and no order of the factors matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp

from refmodel.packed.coding import Coding, Field, ReadField, Scales

SUPER_BLOCK: Final = 256
"""Numbers whose groups share a float16 scale."""
_DRAWN_SCALE: Final = 32
"""Of 6 bits: its low four are 0, its high two 2."""
_DRAWN_SCALE_OF_8: Final = 16


@dataclass(frozen=True)
class KQuant(Coding):
    """Q4_K and Q5_K, in as many bytes as the file has.

    `low_bits` has the low four bits of a group's scale, and of its minimum above them; `high_bits` the two above these
    of each of eight groups, a word for a super-block: those of group g, minimum above scale, from bit
    8 · (g mod 4) + 4 · (g div 4) on.
    """

    @property
    def block(self) -> int:
        return SUPER_BLOCK

    @property
    def fields(self) -> Mapping[str, Field]:
        whole = {name: Field(jnp.float16, groups=8) for name in ("d", "dmin")}
        return whole | {"low_bits": Field(jnp.uint8), "high_bits": Field(jnp.uint32, groups=8)}

    def number(self, level: jax.Array) -> jax.Array:
        return level.astype(jnp.float32)

    def scales(self, read: ReadField, group: jax.Array) -> Scales:
        low = read("low_bits").astype(jnp.int32)
        high = read("high_bits").astype(jnp.int32) >> ((group & 3) * 8 + (group & 4))
        scale = (low & 15) | (high & 3) << 4
        minimum = low >> 4 | (high & 12) << 2
        d, dmin = (read(name).astype(jnp.float32) for name in ("d", "dmin"))
        return d * scale.astype(jnp.float32), dmin * minimum.astype(jnp.float32)

    def draw_field(self, name: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        """Every scale and minimum is 32; the minimum takes a level's mean away."""
        if name == "low_bits":
            return jnp.zeros(shape, dtype)
        if name == "high_bits":
            return jnp.full(shape, 0xAAAAAAAA, dtype)
        d = std / (2**self.bits / 12**0.5) / _DRAWN_SCALE
        return jnp.full(shape, d if name == "d" else d * (2**self.bits - 1) / 2, dtype)


@dataclass(frozen=True)
class Q6K(Coding):
    """Q6_K: levels from -32 on, no minimum."""

    @property
    def block(self) -> int:
        return SUPER_BLOCK

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"scale": Field(jnp.int8), "d": Field(jnp.float16, groups=16)}

    def number(self, level: jax.Array) -> jax.Array:
        return (level - 32).astype(jnp.float32)

    def scales(self, read: ReadField, group: jax.Array) -> Scales:
        return read("d").astype(jnp.float32) * read("scale").astype(jnp.float32), None

    def draw_field(self, name: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        d = std / (2**self.bits / 12**0.5) / _DRAWN_SCALE_OF_8
        return jnp.full(shape, d if name == "d" else _DRAWN_SCALE_OF_8, dtype)
