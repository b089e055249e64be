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


WEIGHT_FORMATS: Final[Registry[WeightFormat]] = Registry(
    "weight format",
    lambda one: one.name,
    (WeightFormat("F32"), WeightFormat("F16"), WeightFormat("BF16"), WeightFormat("F64")),
)
"""By stored type; `WEIGHT_FORMATS.register(...)` adds one."""
