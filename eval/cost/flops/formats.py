"""Formats that weights and cache are stored in, by name: so many bits of every number, or a coding of matrices.

A coding (`refmodel.packed`) takes the matrices that `refmodel.packed.rule` names; what it leaves is bf16.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import jax.numpy as jnp

from eval.cost.flops.bits import BITS, as_bytes, bits
from refmodel.packed import rule
from refmodel.packed.coding import Coding
from refmodel.packed.codings import parse_coding
from refmodel.parameters import Parameter
from refmodel.specification import ModelConfig


def coding_of(weights: str) -> Coding | None:
    """The coding that a format of weights is; None where it is so many bits of every number.

    Raises `ValueError` for neither, and for a group that no coding has.
    """
    return None if weights in BITS else parse_coding(weights, also=tuple(BITS))


@dataclass(frozen=True)
class Storage:
    """How weights are stored, by the names that `coding_of` takes, and the cache, by those of `BITS`."""

    weights: str = "bf16"
    kv: str = "bf16"

    def __post_init__(self) -> None:
        coding_of(self.weights)
        bits(self.kv)


def copy_bits(row: Parameter, weights: str) -> Fraction:
    """Bits of one of the parameter's copies, scales among them."""
    coding = coding_of(weights)
    if coding is None:
        return row.macs * BITS[weights]
    return Fraction(8 * rule.row_bytes(row, jnp.bfloat16, coding), max(row.copies, 1))


def weight_bytes(model: ModelConfig, weights: str = "bf16") -> int:
    """All stored parameters in the given format."""
    coding = coding_of(weights)
    return as_bytes(model.params, weights) if coding is None else rule.weight_bytes(model, jnp.bfloat16, coding)


def weights_record(model: ModelConfig, weights: str) -> dict[str, Any]:
    """The format of a model's weights as records tell it: name, bits of a parameter on average, bytes of all."""
    stored = weight_bytes(model, weights)
    return {"format": weights, "bits_per_weight": 8 * stored / model.params, "bytes": stored}
