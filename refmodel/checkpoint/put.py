"""A stored tensor into its part of a leaf, as fast as memory takes it: tile by tile, on several threads.

A matrix is stored as [out, in] and kept as [in, out].  numpy transposes a large one at a fifth of the rate that it
copies at, for each number that it writes comes from another line of the cache, and rows of 4,096 bytes have their lines
all in one place of it.  A tile is copied first, to rows an odd number of lines apart, of which the cache keeps all.
A task has a stretch of the leaf to itself: fresh memory is cleared 2 MiB at a time, and two threads that touch the same
would both clear it.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Final

import numpy as np

from refmodel.parameters import Parameter

_TILE_ROWS: Final = 256
"""Their lines of 64 bytes take half of a first cache of 32 KiB, and what is written of a column is 512 bytes."""
_TILE_ROW_BYTES: Final = 2048
"""A tile takes half of a second cache of 1 MiB; smaller ones are done so fast that threads wait for one another."""
_COPIED_ROWS: Final = 512
_LINE_BYTES: Final = 64


def put(part: np.ndarray, row: Parameter, stored: np.ndarray, pool: Executor) -> list[Future[None]]:
    """The tasks that fill `part`, contiguous and of the row's shape, with the stored tensor of it."""
    if part.dtype == stored.dtype:  # as plain numbers, of whatever kind: the copies of others are slower
        part, stored = (array.view(f"u{array.itemsize}") for array in (part, stored))
    if not row.is_transposed:
        own = row.from_stored(stored)
        return [pool.submit(_copy, part[cut], own[cut]) for cut in _cuts(len(own), _COPIED_ROWS)]
    out, fan_in = row.stored_shape[-2:]
    return [
        pool.submit(_transpose, into_io[columns], matrix_oi[:, columns])
        for into_io, matrix_oi in zip(part.reshape(-1, fan_in, out), stored.reshape(-1, out, fan_in), strict=True)
        for columns in _cuts(fan_in, _TILE_ROW_BYTES // part.itemsize)
    ]


def _cuts(size: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, size, step)]


def _copy(into: np.ndarray, rows: np.ndarray) -> None:
    into[...] = rows


def _transpose(into_io: np.ndarray, block_oi: np.ndarray) -> None:
    """Of whatever type the block is, it is transposed as plain numbers of the type that is kept."""
    number, columns = f"u{into_io.itemsize}", len(into_io)
    lines = -(-columns * into_io.itemsize // _LINE_BYTES) | 1
    apart = np.empty((_TILE_ROWS, lines * _LINE_BYTES // into_io.itemsize), into_io.dtype)[:, :columns]
    for rows in _cuts(len(block_oi), _TILE_ROWS):
        tile = apart[: len(block_oi[rows])]
        tile[...] = block_oi[rows]
        into_io[:, rows].view(number)[...] = tile.view(number).T
