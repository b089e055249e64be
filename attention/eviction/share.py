"""A budget that is a share of a prompt's keys: `evict(snapkv, budget=0.5)` keeps half of them.

    keys = max(⌊share · N⌋, 1, what always stays)         N the tokens of the prompt

As kvpress keeps ⌊(1 - compression_ratio) · N⌋; but sinks and recent keys are never given up.  A share is 1/1024 at
least and 1023/1024 at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from numbers import Integral, Real
from typing import Final

from attention.parameters import Budget, spelling

LEAST_SHARE: Final = Fraction(1, 1024)
MOST_SHARE: Final = 1 - LEAST_SHARE
"""Nearer to nothing, or to all, costs follow the prompt only after so many tokens that no search would get there."""

MOST_DOUBLINGS: Final = 32
"""A policy whose recent keys grow with the budget (half of it, as H2O's) has settled after so many."""

FAR_TOKENS: Final = 2**24
"""A prompt of which any usual share is more than what always stays."""


def read_budget(called: str, budget: Budget) -> int | Fraction:
    """Keys, or a share as it is written in decimals: 0.1 is 1/10.

    Raises `ValueError` for what is neither.
    """
    if isinstance(budget, Integral) and budget >= 1:
        return int(budget)
    got: object = budget
    if isinstance(budget, Real) and not isinstance(budget, Integral) and 0 < budget < 1:
        share = budget if isinstance(budget, Fraction) else Fraction(repr(float(budget)))
        if LEAST_SHARE <= share <= MOST_SHARE:
            return share
        got = spelling(share)
    raise ValueError(
        f"{called}: budget must be at least 1 key, or a share of the prompt from {LEAST_SHARE} to {MOST_SHARE}, "
        f"got {got}"
    )


def keys_of(share: Fraction, tokens: int, reserved: Callable[[int], int]) -> int:
    """The budget of a prompt of so many tokens, where `reserved` keys always stay of each budget."""
    keys = max(math.floor(share * tokens), 1)
    for _ in range(MOST_DOUBLINGS):
        if reserved(keys) <= keys:
            break
        keys = reserved(keys)
    return keys
