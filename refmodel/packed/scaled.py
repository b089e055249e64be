"""Codings whose groups share one scale, of which weights are packed while they are loaded: int4, int8, fp8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from refmodel.packed.coding import Coding, Field, ReadField, Scales
from refmodel.packed.planes import pack_levels

E4M3_MOST: Final = 448.0
"""The largest number of e4m3 (OFP8, 2209.05433)."""


class Encoder(Coding):
    """A coding that weights are packed in here."""

    def encode(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """The coding's arrays of float weights [..., rows, depth]."""
        raise NotImplementedError


@dataclass(frozen=True)
class OneScale(Encoder):
    """The base of those whose groups share a scale of `scale_dtype`, and nothing else."""

    scale_dtype: Any = jnp.bfloat16

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"scale": Field(self.scale_dtype)}

    def scales(self, read: ReadField, group: jax.Array) -> Scales:
        return read("scale").astype(jnp.float32), None

    def draw_field(self, name: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        return jnp.full(shape, std / self.level_std, dtype)

    @property
    def level_std(self) -> float:
        """Of what levels stand for where they are drawn for `draw`."""
        return 1.0


@dataclass(frozen=True)
class Scaled(OneScale):
    """Whole numbers from `least` on, times a scale of `scale_dtype`: int4 from -8, int8 from -127.

    A group's scale makes its number of largest magnitude the one of `least`; both are exact then but for the rounding
    of the scale, and the others are off by at most half of it (the rule of llama.cpp's Q4_0).  bfloat16 scales reach as
    far as the weights do, where float16's end at 6e-8.
    """

    least: int = -8

    @property
    def byte_dtype(self) -> Any:
        return jnp.int8

    def number(self, level: jax.Array) -> jax.Array:
        return (level if self.bits == 8 else level + self.least).astype(jnp.float32)

    @property
    def level_std(self) -> float:
        return 2**self.bits / 12**0.5

    def encode(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        grouped = _grouped(weight, self.group_size(weight.shape[-1]))
        largest = np.take_along_axis(grouped, np.abs(grouped).argmax(-1)[..., None], axis=-1)
        scale = (largest / self.least).astype(self.scale_dtype)
        level = np.rint(_divided(grouped, scale)).clip(self.least, -self.least - (self.bits < 8)).reshape(weight.shape)
        if self.bits == 8:
            return {"byte": level.astype(np.int8), "scale": scale[..., 0]}
        return {**pack_levels((level - self.least).astype(np.uint8), self.bits), "scale": scale[..., 0]}


@dataclass(frozen=True)
class Float8(OneScale):
    """e4m3 floats times a scale, which makes a group's largest magnitude 448."""

    @property
    def byte_dtype(self) -> Any:
        return jnp.float8_e4m3fn

    def number(self, level: jax.Array) -> jax.Array:
        return level.astype(jnp.float32)

    def encode(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        grouped = _grouped(weight, self.group_size(weight.shape[-1]))
        scale = (np.abs(grouped).max(-1, keepdims=True) / E4M3_MOST).astype(self.scale_dtype)
        number = _divided(grouped, scale).clip(-E4M3_MOST, E4M3_MOST).astype(ml_dtypes.float8_e4m3fn)
        return {"byte": number.reshape(weight.shape), "scale": scale[..., 0]}


def _grouped(weight: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(weight, np.float32).reshape(*weight.shape[:-1], -1, size)


def _divided(grouped: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """By the scale as it is stored; 0 where that is 0, for so are the weights or all but."""
    scale = scale.astype(np.float32)
    return np.divide(grouped, scale, out=np.zeros_like(grouped), where=scale != 0)


def int4(group: int = 32) -> Scaled:
    """Four bits, 4.5 a weight by groups of 32."""
    return Scaled(f"int4({group})", 4, group, least=-8)


def int8(group: int = 64) -> Scaled:
    """Eight bits, 8.25 a weight by groups of 64."""
    return Scaled(f"int8({group})", 8, group, least=-127)


def fp8(group: int = 0) -> Float8:
    """e4m3 with a scale for each row of a matrix, or for groups of it."""
    return Float8(f"fp8({group})" if group else "fp8", 8, group)
