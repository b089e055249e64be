"""What interpreting a program adds up: FLOPs by scope, and how often what ran."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple


class Visit(NamedTuple):
    """A named call inside an annotated one."""

    walk: str
    call: str


class KernelCalls(NamedTuple):
    """Calls of a Pallas kernel, or the FLOPs of all of them."""

    kernel: str
    flops: bool = False


class Taken(NamedTuple):
    """A branch that a cond took, or that the policy chose, of those that cost so much."""

    costs: tuple[int, ...]
    branch: int


Tally = Counter[str | Visit | KernelCalls | Taken]
"""FLOPs by scope, how often annotated calls run, what Pallas kernels do, and which branches were taken how often."""


def flops_of(tally: Tally) -> int:
    """FLOPs of all scopes."""
    return sum(flops for key, flops in tally.items() if isinstance(key, str))


def repeated(tally: Tally, times: int) -> Tally:
    """What so many runs add up to."""
    return Counter({key: value * times for key, value in tally.items()})
