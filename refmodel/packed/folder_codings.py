"""Codings of the weights that Hugging Face folders hold packed: AWQ's and GPTQ's 4 bits, 8-bit floats in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp

from refmodel.packed.coding import Coding, Field, ReadField, Scales

BLOCK: Final = 128
"""Rows and columns of a matrix that share a scale of 8-bit floats."""


@dataclass(frozen=True)
class Uint4(Coding):
    """Levels 0 .. 15 with a zero point: weight = (level - zero) · scale (AWQ, 2306.00978; GPTQ, 2210.17323).

    Zero points of two neighbouring groups share a byte, the first in its low half.  Scale times level and scale times
    zero are exact in float32, and so is their difference: it is the product of the formula, bit for bit.
    """

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"scale": Field(jnp.float16), "zero": Field(jnp.uint8, groups=2)}

    def number(self, level: jax.Array) -> jax.Array:
        return level.astype(jnp.float32)

    def scales(self, read: ReadField, group: jax.Array) -> Scales:
        scale = read("scale").astype(jnp.float32)
        zero = (read("zero").astype(jnp.int32) >> (group & 1) * 4) & 15
        return scale, scale * zero.astype(jnp.float32)

    def draw_field(self, name: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        """Every zero point is 8."""
        return jnp.full(shape, 0x88 if name == "zero" else std / (2**self.bits / 12**0.5), dtype)


@dataclass(frozen=True)
class Fp8Blocks(Coding):
    """e4m3 floats with a float32 scale for each block of 128 x 128 (DeepSeek-V3, 2412.19437; Qwen3's FP8 folders)."""

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"scale": Field(jnp.float32, rows=BLOCK)}

    @property
    def byte_dtype(self) -> Any:
        return jnp.float8_e4m3fn

    def number(self, level: jax.Array) -> jax.Array:
        return level.astype(jnp.float32)

    def scales(self, read: ReadField, group: jax.Array) -> Scales:
        return read("scale"), None

    def draw_field(self, name: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        return jnp.full(shape, std, dtype)  # the floats are drawn with a standard deviation of 1


def uint4(group: int = 128) -> Uint4:
    """Four bits and a zero point, 4.16 a weight by groups of 128."""
    return Uint4(f"uint4({group})", 4, group)


def fp8_blocks() -> Fp8Blocks:
    """8-bit floats in blocks of 128 x 128."""
    return Fp8Blocks("fp8_blocks", 8, BLOCK)
