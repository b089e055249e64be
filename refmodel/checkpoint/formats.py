"""The formats in which safetensors files hold weights, an open registry.

GGUF files have their own, whose decoding is that of the package `gguf`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from attention.registry import Registry
from refmodel.checkpoint.placement import Shape


def _broadcast(numbers: Shape, *beside: Shape) -> bool:
    try:
        return np.broadcast_shapes(numbers, *beside) == numbers
    except ValueError:
        return False


@dataclass(frozen=True)
class WeightFormat:
    """How a stored tensor becomes numbers.

    Attributes:
        name: the stored type, as the file's header spells it: "BF16".
        decode: from the stored array, and those stored beside it, to an array of floats.
        beside: what the names of tensors that belong to it end in, after its own name: ("_scale",).
        per_item: numbers that one stored item holds along the last axis; 2 for 4-bit numbers in bytes.
        fits: whether the shapes of those beside it go with the shape of the numbers, asked before anything is read
            (default: whether they broadcast to it).

    Examples:
        >>> import numpy as np
        >>> from refmodel.checkpoint.formats import WeightFormat
        >>> scaled = WeightFormat("I8", lambda stored, scale: stored * scale, beside=("_scale",))
        >>> scaled.decode(np.int8([[3, -2]]), np.float32([[0.5]]))
        array([[ 1.5, -1. ]], dtype=float32)
    """

    name: str
    decode: Callable[..., np.ndarray] = lambda stored: stored
    beside: tuple[str, ...] = ()
    per_item: int = 1
    fits: Callable[..., bool] = _broadcast

    def shape(self, stored: Shape) -> Shape:
        """Of the numbers, from that of the stored items."""
        return (*stored[:-1], stored[-1] * self.per_item) if stored else stored


BLOCK: Final = 128
"""Rows and columns of a matrix that share a scale where 8-bit floats are stored with `weight_scale_inv`."""


def _by_blocks(stored_oi: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """float32 [out, in]: each block of 128 x 128 times its scale (DeepSeek-V3, 2412.19437; Qwen3's FP8 folders)."""
    scaled_oi = stored_oi.astype(np.float32)
    for row, scale_i in enumerate(scale.astype(np.float32)):
        scaled_oi[row * BLOCK : (row + 1) * BLOCK] *= np.repeat(scale_i, BLOCK)[: stored_oi.shape[1]]
    return scaled_oi


def _are_blocks(numbers: Shape, scale: Shape) -> bool:
    """Whether there is a scale for each block of a matrix, those at its ends among them."""
    return len(numbers) == 2 and scale == tuple(-(-side // BLOCK) for side in numbers)


WEIGHT_FORMATS: Final[Registry[WeightFormat]] = Registry(
    "weight format",
    lambda one: one.name,
    (
        *map(WeightFormat, ("F32", "F16", "BF16", "F64")),
        WeightFormat("F8_E4M3", _by_blocks, beside=("_scale_inv",), fits=_are_blocks),
    ),
)
"""By stored type; `WEIGHT_FORMATS.register(...)` adds one."""
