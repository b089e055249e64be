"""Levels of 4, 5, 6 or 8 bits along the last axis, and the arrays that hold them.

A level is a small whole number 0 .. 2^bits - 1; what it stands for is its coding's (`refmodel.packed.coding`).  Its low
four bits lie in `low`, two in a byte, 32 apart: byte 32·p + i holds that of 64·p + i in its low half and that of
64·p + 32 + i in its high half.  So 32 neighbours come out of 32 neighbouring bytes by one shift, and no two lanes of a
GPU have to exchange anything.  Each further bit of 32 neighbours is a word of `high`, bit i that of the i-th.
Levels of eight bits are bytes, in `byte`, as they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

LANES: Final = 32
"""Neighbours that a shift brings out together."""
PAIR: Final = 2 * LANES
"""Levels that share `LANES` bytes of `low`."""


def plane_shapes(bits: int, rows: int, depth: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """{name: (shape, dtype)} of a matrix [rows, depth] of levels; those of 8 bits are uint8 here.

    Raises `ValueError` for fewer than 8 bits and a depth that is no multiple of `PAIR`.
    """
    if bits == 8:
        return {"byte": ((rows, depth), jnp.uint8)}
    if bits not in (4, 5, 6):
        raise ValueError(f"levels have 4, 5, 6 or 8 bits, got {bits}")
    if depth % PAIR:
        raise ValueError(f"levels of {bits} bits are packed along a multiple of {PAIR} numbers, got {depth}")
    low = {"low": ((rows, depth // 2), jnp.uint8)}
    return low | ({"high": ((bits - 4, rows, depth // LANES), jnp.uint32)} if bits > 4 else {})


def pack_levels(level: np.ndarray, bits: int) -> dict[str, np.ndarray]:
    """The arrays of uint8 levels [..., rows, depth] below 2^bits."""
    if bits == 8:
        return {"byte": level}
    *lead, rows, depth = level.shape
    half = (level & 15).reshape(*lead, rows, depth // PAIR, 2, LANES)
    planes = {"low": (half[..., 0, :] | half[..., 1, :] << 4).reshape(*lead, rows, depth // 2)}
    if bits > 4:
        each = [
            np.packbits((level >> bit) & 1, axis=-1, bitorder="little").view("<u4").astype(np.uint32)
            for bit in range(4, bits)
        ]
        planes["high"] = np.stack(each, axis=-3)
    return planes


def unpack_levels(planes: Mapping[str, jax.Array], bits: int) -> jax.Array:
    """int32 levels [..., rows, depth] of 4, 5 or 6 bits."""
    low = planes["low"].astype(jnp.int32)
    *lead, rows, half = low.shape
    pairs = low.reshape(*lead, rows, half // LANES, 1, LANES) >> jnp.array([0, 4])[:, None]
    level = (pairs & 15).reshape(*lead, rows, 2 * half)
    for bit in range(4, bits):
        words = planes["high"][..., bit - 4, :, :, None] >> jnp.arange(LANES, dtype=jnp.uint32)
        level |= (words & 1).astype(jnp.int32).reshape(level.shape) << bit
    return level
