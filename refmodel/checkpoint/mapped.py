"""A stretch of a file as an array, without reading it."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def mapped(path: Path, place: tuple[int, int]) -> np.ndarray:
    """The bytes of a file from `place[0]` up to `place[1]`, mapped into memory and not copied.

    Each call is a mapping of its own: what was read of one is resident no longer than its tensor, where one of the
    whole file would keep all that was read.
    """
    start, stop = place
    if start == stop:  # no mapping is empty
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, "r", start, stop - start)
