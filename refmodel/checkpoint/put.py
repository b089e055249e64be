"""A stored tensor into its part of a leaf, as fast as memory takes it: a few rows at a time, on several threads.

A matrix is stored as [out, in] and kept as [in, out].  numpy transposes a large one at a fifth of the rate that it
copies at, for each number it writes lands in another line of the cache; eight rows at a time stay in the cache.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Final, Protocol

import numpy as np

from refmodel.parameters import Parameter

_ROWS: Final = 8
_ROWS_A_TASK: Final = 256


class _Copy(Protocol):
    def __call__(self, into: np.ndarray, rows: np.ndarray, /) -> None: ...


def put(part: np.ndarray, row: Parameter, stored: np.ndarray, pool: Executor) -> None:
    """Fills `part`, contiguous and of the row's shape, with the stored tensor of it."""
    if part.dtype == stored.dtype:  # as plain numbers, of whatever kind: the copies of others are slower
        part, stored = (array.view(f"u{array.itemsize}") for array in (part, stored))
    if not row.is_transposed:
        _each(part, row.from_stored(stored), _copy, pool)
        return
    out, fan_in = row.stored_shape[-2:]
    for into_io, matrix_oi in zip(part.reshape(-1, fan_in, out), stored.reshape(-1, out, fan_in), strict=True):
        _each(into_io.T, matrix_oi, _copy_rows, pool)


def _each(into: np.ndarray, rows: np.ndarray, copy: _Copy, pool: Executor) -> None:
    """Copies some rows in each of several tasks."""
    starts = range(0, len(rows), _ROWS_A_TASK) if rows.ndim > 1 else [0]
    if len(starts) <= 1:
        copy(into, rows)
        return
    cuts = (slice(start, start + _ROWS_A_TASK) for start in starts)
    for done in [pool.submit(copy, into[cut], rows[cut]) for cut in cuts]:
        done.result()


def _copy(into: np.ndarray, rows: np.ndarray) -> None:
    into[...] = rows


def _copy_rows(into_oi: np.ndarray, rows_oi: np.ndarray) -> None:
    for start in range(0, len(rows_oi), _ROWS):
        into_oi[start : start + _ROWS] = rows_oi[start : start + _ROWS]
