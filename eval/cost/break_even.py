"""From which length on one layout asks for less attention than another."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from attention.pattern import UNBOUNDED
from eval.cost.crossover import Model, attention_total

LONGEST_TOKENS: Final = 2**22
"""No break-even beyond it is looked for where a variant is more than a pattern."""


@functools.cache  # a table, a page and a file ask for the same ones
def break_even_tokens(dear: Model, cheap: Model) -> int | None:
    """The first N from which on `cheap` asks for fewer attention FLOPs than `dear` (exact pairs), None if never.

    Pair counts are quadratic polynomials between neighbouring spans, so the last change of sign is looked for segment
    by segment, from the far end.  A variant that is more than a pattern has no such segments: there it is looked for
    on lengths that grow by a hundredth each, up to `LONGEST_TOKENS`, and a shorter change of sign may be missed.
    """

    def saving(n: int) -> int:
        return int(attention_total(dear, n) - attention_total(cheap, n))

    if not all(_has_segments(model) for model in (dear, cheap)):
        return _on_a_grid(saving)
    corners = sorted({0} | _corners(dear) | _corners(cheap))
    corners.append(corners[-1] + _beyond_all_roots([saving(corners[-1] + i) for i in range(3)]))
    if saving(corners[-1]) <= 0:
        return None
    for low, high in zip(reversed(corners[:-1]), reversed(corners[1:]), strict=True):
        turn = first_true_within(lambda n: saving(n + 1) >= saving(n), low, high)
        lowest = min(low, turn, key=saving)
        if saving(lowest) <= 0:
            return first_true_within(lambda n: saving(n) > 0, lowest, high)
    raise AssertionError("nothing is saved at length 0")


def _has_segments(model: Model) -> bool:
    return all(layer.variant.has_only_a_pattern for layer in model.layers if layer.mixer)


def _on_a_grid(saving: Callable[[int], int]) -> int | None:
    lengths = [1]
    while lengths[-1] < LONGEST_TOKENS:
        lengths.append(lengths[-1] + 1 + lengths[-1] // 100)
    last = next((i for i in reversed(range(len(lengths))) if saving(lengths[i]) <= 0), -1)
    if last == len(lengths) - 1:
        return None
    return first_true_within(lambda n: saving(n) > 0, lengths[last] if last >= 0 else 1, lengths[last + 1])


def _corners(model: Model) -> set[int]:
    """Lengths at which the pair count of some head changes its polynomial."""
    heads = {
        head for layer in model.layers if layer.mixer
        for head in layer.variant.pattern().per_head(layer.heads.n_heads)
    }  # fmt: skip
    return {value for span, sink in heads for value in (span, span + sink) if value < UNBOUNDED}


def _beyond_all_roots(values: list[int]) -> int:
    """An n > 2 past every root of the quadratic with the given values at 0, 1, 2 (Cauchy's bound)."""
    twice_a = values[2] - 2 * values[1] + values[0]
    twice_b = 2 * (values[1] - values[0]) - twice_a
    lead, *rest = [c for c in (twice_a, twice_b, 2 * values[0]) if c] or [1]
    return 3 + max((abs(c) for c in rest), default=0) // abs(lead)


def first_true_within(condition: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest n in [low, high] at which a condition that stays true once it is holds; `high` if it never does."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if condition(middle) else (middle + 1, high)
    return low
