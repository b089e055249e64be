"""What kernel programs are described with: their GPU kernels, and weights as shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

from eval.lowering.dtypes import dtype_of
from refmodel.packed.codings import parse_coding
from refmodel.packed.packed import abstract_packed


@dataclass(frozen=True)
class Part:
    """One GPU kernel of a program, by the name that Triton gives it.

    Attributes:
        products: matrix products in its inner loop.
        macs_per_wave: multiply-accumulates of one wave for one of them in one turn of the loop.
    """

    kernel: str
    products: int
    macs_per_wave: int


def abstract_stack(shape: tuple[int, ...], coding: str, dtype: str) -> Any:
    """Weights [..., depth, width] as shapes: an array, or packed in a coding that is named."""
    if not coding:
        return jax.ShapeDtypeStruct(shape, dtype_of(dtype))
    *lead, depth, width = shape
    return abstract_packed(parse_coding(coding), (*lead, width, depth), dtype_of(dtype))
