"""Codings whose sixteen levels stand for what a table says: IQ4_NL, IQ4_XS, MXFP4.

A table is looked up by shifts of whole words that hold it, for a kernel has no gather.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from refmodel.packed.coding import Coding, Field, ReadField, Scales
from refmodel.packed.k_quants import SUPER_BLOCK

IQ4_VALUES: Final = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""What the levels of IQ4_NL and IQ4_XS stand for (llama.cpp's kvalues_iq4nl)."""
_IQ4_WORDS: Final[list[int]] = np.array(IQ4_VALUES, np.int8).view("<i4").tolist()
_E2M1_NIBBLES: Final = 0xC8643210 - 2**32
"""Twice the magnitudes of E2M1 (0, 0.5, 1, 1.5, 2, 3, 4, 6), four bits each, as an int32."""
_E2M1_STD: Final = 34.25**0.5
"""Of twice the values, each as often."""


@dataclass(frozen=True)
class Iq4(Coding):
    """IQ4_NL: one of sixteen values, denser about 0, times a scale."""

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"scale": Field(jnp.float16)}

    def number(self, level: jax.Array) -> jax.Array:
        first, second, third, fourth = _IQ4_WORDS
        odd = (level & 4) != 0
        word = jnp.where(level < 8, jnp.where(odd, second, first), jnp.where(odd, fourth, third))
        return (word << (24 - (level & 3) * 8) >> 24).astype(jnp.float32)

    def scales(self, read: ReadField, group: jax.Array) -> Scales:
        return read("scale").astype(jnp.float32), None

    def draw_field(self, name: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        return jnp.full(shape, std / np.std(IQ4_VALUES), dtype)


@dataclass(frozen=True)
class Iq4Xs(Iq4):
    """IQ4_XS: the same values in super-blocks of 256, with whole scales -32 .. 31 for groups of 32.

    A word of a super-block has the low four bits of its eight scales, a half word the high two, the first lowest.
    """

    @property
    def block(self) -> int:
        return SUPER_BLOCK

    @property
    def fields(self) -> Mapping[str, Field]:
        dtypes = {"d": jnp.float16, "scale_low": jnp.uint32, "scale_high": jnp.uint16}
        return {name: Field(dtype, groups=8) for name, dtype in dtypes.items()}

    def scales(self, read: ReadField, group: jax.Array) -> Scales:
        within = group & 7
        low = read("scale_low").astype(jnp.int32) >> within * 4
        high = read("scale_high").astype(jnp.int32) >> within * 2
        scale = ((low & 15) | (high & 3) << 4) - 32
        return read("d").astype(jnp.float32) * scale.astype(jnp.float32), None

    def draw_field(self, name: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        """Every scale is 16: low bits 0, high bits 3."""
        drawn = {"d": std / float(np.std(IQ4_VALUES)) / 16, "scale_low": 0, "scale_high": 0xFFFF}
        return jnp.full(shape, drawn[name], dtype)


@dataclass(frozen=True)
class Mxfp4(Coding):
    """4-bit floats (E2M1) in groups of 32 with a power of two, byte s for 2^(s - 127) (OCP MX, 2310.10537).

    Twice each value is multiplied with half of its scale, as llama.cpp does it: float32 does not hold 2^128.  Bytes 0
    and 1 make numbers of at most 1.5 · 2^-124, which come out as 0: half of their scale is below what XLA keeps.
    """

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"scale": Field(jnp.uint8)}

    def number(self, level: jax.Array) -> jax.Array:
        magnitude = (jnp.int32(_E2M1_NIBBLES) >> (level & 7) * 4) & 15
        return jnp.where(level < 8, magnitude, -magnitude).astype(jnp.float32)

    def scales(self, read: ReadField, group: jax.Array) -> Scales:
        exponent = jnp.maximum(read("scale").astype(jnp.int32) - 1, 0)
        return lax.bitcast_convert_type(exponent << 23, jnp.float32), None

    def draw_field(self, name: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        """The powers of two below and above, as often as makes the mean of the squares `std` squared."""
        half = np.log2(std / _E2M1_STD)
        below = np.floor(half)
        above = jax.random.bernoulli(key, (4 ** (half - below) - 1) / 3, shape)
        return (int(below) + 128 + above).astype(dtype)
