"""From which lengths on one curve lies above another, exactly: halve until bounds decide, else look at every length."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from eval.cost.curves import Curve

LEAF_TOKENS: Final = 4096
"""So many lengths are looked at one by one."""
LONGEST_TOKENS: Final = 2**22
"""No longer prompt is searched where it is not known how a variant's cost goes on."""
LONGEST_BY_LOT_TOKENS: Final = 2**20
"""Nor than this, where routes are drawn by lot: each position costs a hash in each layer."""


@dataclass(frozen=True)
class SignChanges:
    """Where one quantity exceeds another, over all lengths of a prompt.

    Attributes:
        at: the lengths at which it starts to exceed and stops, in turn.
        every_tokens: after how many tokens the last of them recur, without end; None if there is an end.
        searched_tokens: up to where, if it is not known what comes later; None if it is.
    """

    at: tuple[int, ...] = ()
    every_tokens: int | None = None
    searched_tokens: int | None = None

    @property
    def first(self) -> int | None:
        """The first length at which it exceeds, None if it never does."""
        return self.at[0] if self.at else None

    @property
    def again(self) -> tuple[int, ...]:
        """The later lengths at which it starts to exceed once more."""
        return self.at[2::2]

    @property
    def stays_from(self) -> int | None:
        """From where on it exceeds for good, None if it does not."""
        return self.at[-1] if len(self.at) % 2 and self.every_tokens is None else None

    @property
    def count(self) -> int | None:
        """How often it starts to exceed, None if without end."""
        return None if self.every_tokens else (len(self.at) + 1) // 2


def sign_changes(dear: Curve, cheap: Curve) -> SignChanges:
    """Where `dear` lies above `cheap`.

    Nearly convex curves need hundreds of lengths for an answer that holds for all.  Where a difference stays within the
    ripples for long, each length there is looked at.
    """
    last, every, searched = _horizon(dear, cheap)
    at: list[int] = []
    above = False
    for start, above_n in _signs(dear, cheap, last):
        at += (start + np.flatnonzero(np.diff(above_n, prepend=above))).tolist()
        above = bool(above_n[-1])
    if every and not any(n > last - every for n in at):
        every = None
    return SignChanges(tuple(at), every, searched)


# ------------------------------------------------------------------------------------------------------ the near part


def _signs(dear: Curve, cheap: Curve, last: int) -> Iterator[tuple[int, np.ndarray]]:
    """(start, whether dear is above), in order up to `last`: one entry for an interval, or one for each length."""
    rest = [(1, LEAF_TOKENS)]
    while rest:
        low, high = rest.pop()
        if low > last:
            return
        if not rest:
            rest.append((high + 1, 2 * high))
        above = _decided(dear, cheap, low, high)
        if above is not None:
            yield low, np.array([above])
        elif high - low < LEAF_TOKENS:
            yield low, _one_by_one(dear, cheap, low, min(high, last))
        else:
            middle = (low + high) // 2
            rest += [(middle + 1, high), (low, middle)]


def _decided(dear: Curve, cheap: Curve, low: int, high: int) -> bool | None:
    """Whether dear is above at every length from `low` to `high`, or at none; None where bounds do not say."""
    falls = dear.fall(high) + cheap.fall(high)
    if dear.total(high) + falls <= cheap.total(low):
        return False
    if dear.total(low) > cheap.total(high) + falls:
        return True
    if not (dear.is_nearly_convex and cheap.is_nearly_convex):
        return None
    above = [dear.total(n) - cheap.total(n) for n in (low, high)]
    if max(above) <= 0 and _outweighs(-max(above), dear, cheap, low, high):
        return False
    if min(above) > 0 and _outweighs(min(above) - 1, cheap, dear, low, high):
        return True
    return None


def _outweighs(margin: int, rising: Curve, sagging: Curve, low: int, high: int) -> bool:
    """Whether `margin` at both ends is enough for all between: one curve is above its chord, the other below."""
    margin -= rising.ripple(high) + sagging.ripple(high)
    return margin >= 0 and (sag := sagging.sag(low, high)) is not None and margin + sagging.ripple(high) >= sag


def _one_by_one(dear: Curve, cheap: Curve, low: int, high: int) -> np.ndarray:
    """Whether dear is above at each length from `low` to `high`."""
    first, steps = dear.total(low) - cheap.total(low), [curve.by_token(low, high - low) for curve in (dear, cheap)]
    most = abs(first) + sum(int(np.abs(step_t).max(initial=0)) for step_t in steps) * (high - low)
    kind = np.int64 if most < 2**63 else object
    dear_t, cheap_t = (step_t.astype(kind) for step_t in steps)
    return np.cumsum(np.concatenate([np.array([first], kind), dear_t - cheap_t])) > 0


# ------------------------------------------------------------------------------------------------------- the far part


def _horizon(dear: Curve, cheap: Curve) -> tuple[int, int | None, int | None]:
    """The last length to look at, and `every_tokens` and `searched_tokens` of what is found."""
    one, other = dear.course, cheap.course
    if one is None or other is None:
        return LONGEST_TOKENS, None, LONGEST_TOKENS
    apart = [a - b for a, b in zip(one.quadratic, other.quadratic, strict=True)]
    settled, power = max(one.settled_tokens, other.settled_tokens), max(one.power, other.power)
    periods = one.period_tokens, other.period_tokens
    longest = LONGEST_BY_LOT_TOKENS if None in periods else max(2**40, settled << 20)
    last = settled
    while last <= longest:
        if _outgrown(apart, dear.ripple(last) + cheap.ripple(last), power, last):
            return last, None, None
        last += last // 8 + 1
    if None in periods:
        return LONGEST_BY_LOT_TOKENS, None, LONGEST_BY_LOT_TOKENS
    period = math.lcm(*filter(None, periods))
    if power > 0 or period > LONGEST_TOKENS:
        return LONGEST_TOKENS, None, LONGEST_TOKENS
    return settled + period, period, None


def _outgrown(apart: list[Fraction], ripple: int, power: float, tokens: int) -> bool:
    """Whether, for every n >= `tokens`, c + b·n + a·n² is beyond what n^power makes of the ripple at `tokens`."""
    above = sum(x * tokens**power for power, x in enumerate(apart)) > 0
    c, b, a = (x if above else -x for x in apart)
    c, b, a = (x - (Fraction(ripple, tokens**i) if i == math.ceil(power) else 0) for i, x in enumerate((c, b, a)))
    value = c + b * tokens + a * tokens**2
    return (value > 0 if above else value >= 0) and b + 2 * a * tokens >= 0 and a >= 0


def in_words(found: SignChanges) -> str:
    """What the first length leaves out, if anything: `again from 27,771 and 5 times more, for good from 97,000`."""
    words = []
    if found.again == (found.stays_from,):
        words.append(f"again and for good from {found.stays_from:,}")
    elif found.again:
        times = len(found.again) - 1
        more = f" and {times:,} {'times' if times > 1 else 'time'} more" if times else ""
        words.append(f"again from {found.again[0]:,}{more}")
    if found.every_tokens:
        words.append(f"and so on for ever, every {found.every_tokens:,} tokens")
    elif len(found.at) > 1 and found.again != (found.stays_from,):
        words.append(f"for good from {found.stays_from:,}" if found.stays_from else f"no more from {found.at[-1]:,}")
    if found.searched_tokens:
        words.append(f"not known beyond {found.searched_tokens:,}")
    return ", ".join(words)
