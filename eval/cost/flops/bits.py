"""Bits of a stored number, by the name of its format: the same for every number, of weights or of a cache."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

BITS: Final[Mapping[str, Fraction]] = MappingProxyType(
    {"f32": Fraction(32), "bf16": Fraction(16), "8bit": Fraction(8), "4.5bit": Fraction(9, 2), "4bit": Fraction(4)}
)
"""Bits of a stored value; 4.5 is a 4-bit block format with its scales (Q4_0, Q4_K)."""


def bits(name: str) -> Fraction:
    """Bits of a named format of every number, or a `ValueError` that lists them."""
    if name not in BITS:
        raise ValueError(f"no storage format {name!r}; accepted: {', '.join(BITS)}")
    return BITS[name]


def as_bytes(values: int, name: str) -> int:
    """Whole bytes of so many values in a named format."""
    return math.ceil(values * bits(name) / 8)
