"""Memory that JAX takes over on a CPU as it is."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

_ALIGNMENT_BYTES: Final = 64
"""What XLA asks of memory that it is to use in place."""


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of that alignment, not filled."""
    size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size_bytes + _ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT_BYTES
    return raw[start : start + size_bytes].view(dtype).reshape(shape)
