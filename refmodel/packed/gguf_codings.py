"""The types of GGUF files that are kept as they are, by llama.cpp's names in lower case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import jax
import jax.numpy as jnp

from refmodel.packed.codebooks import Iq4, Iq4Xs, Mxfp4
from refmodel.packed.coding import Coding, Field, ReadField, Scales
from refmodel.packed.k_quants import Q6K, KQuant
from refmodel.packed.scaled import Scaled


@dataclass(frozen=True)
class Affine(Coding):
    """Q4_1 and Q5_1: weight = level · scale + minimum, both float16 for each group.

    The product is exact in float32, so that a fused multiply-add rounds as two operations do.
    """

    @property
    def fields(self) -> Mapping[str, Field]:
        return {"scale": Field(jnp.float16), "minimum": Field(jnp.float16)}

    def number(self, level: jax.Array) -> jax.Array:
        return level.astype(jnp.float32)

    def scales(self, read: ReadField, group: jax.Array) -> Scales:
        return read("scale").astype(jnp.float32), -read("minimum").astype(jnp.float32)

    def draw_field(self, name: str, key: jax.Array, shape: tuple[int, ...], dtype: Any, std: float) -> jax.Array:
        scale = std / (2**self.bits / 12**0.5)
        return jnp.full(shape, scale if name == "scale" else -scale * (2**self.bits - 1) / 2, dtype)


def _with_scale(name: str, bits: int, least: int) -> Scaled:
    return Scaled(name, bits, 32, jnp.float16, least)


GGUF_CODINGS: Final[Mapping[str, Coding]] = MappingProxyType({
    coding.name: coding
    for coding in (
        _with_scale("q4_0", 4, -8), Affine("q4_1", 4, 32), _with_scale("q5_0", 5, -16), Affine("q5_1", 5, 32),
        _with_scale("q8_0", 8, -127), KQuant("q4_k", 4, 32), KQuant("q5_k", 5, 32), Q6K("q6_k", 6, 16),
        Iq4("iq4_nl", 4, 32), Iq4Xs("iq4_xs", 4, 32), Mxfp4("mxfp4", 4, 32),
    )
})  # fmt: skip
