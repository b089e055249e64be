"""The first length at which a sawtooth is above a limit, exactly: halve until bounds decide."""

from __future__ import annotations

from collections.abc import Callable


def first_above(
    total: Callable[[int], int], fall: Callable[[int, int], int], limit: int, low: int, high: int
) -> int | None:
    """The first n of `low`..`high` with total(n) > limit, None if there is none.

    `fall(i, j)` is the most by which a length of i..j may have less than an earlier one of them.
    """
    rest = [(low, high)]
    while rest:
        low, high = rest.pop()
        if total(high) + fall(low, high) <= limit:
            continue
        if total(low) > limit:
            return low
        if low < high:
            middle = (low + high) // 2
            rest += [(middle + 1, high), (low, middle)]
    return None
