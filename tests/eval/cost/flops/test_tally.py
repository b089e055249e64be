"""What interpreting adds up: FLOPs are those of scopes alone."""

from __future__ import annotations

from collections import Counter

from eval.cost.flops.tally import KernelCalls, Taken, Tally, Visit, flops_of, repeated


def test_flops_are_those_of_scopes_and_all_is_repeated() -> None:
    tally: Tally = Counter(
        {"a": 3, "a/b": 5, Visit("walk", "call"): 7, KernelCalls("k", True): 11, Taken((2, 1), 1): 13}
    )
    assert flops_of(tally) == 8
    assert flops_of(repeated(tally, 17)) == 17 * 8 and repeated(tally, 17)[Visit("walk", "call")] == 17 * 7
