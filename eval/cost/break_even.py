"""From which length on one layout asks for less attention than another."""

from __future__ import annotations

import functools

from eval.cost.crossover import Model
from eval.cost.curves import AttentionCurve, attending_layers
from eval.cost.sign_changes import SignChanges, sign_changes


def break_even_tokens(dear: Model, cheap: Model) -> int | None:
    """The first N from which on `cheap` asks for fewer attention FLOPs than `dear` (exact pairs), None if never."""
    return break_evens(dear, cheap).stays_from


@functools.cache  # a table, a page and a file ask for the same ones
def break_evens(dear: Model, cheap: Model) -> SignChanges:
    """Every N at which `cheap` starts to ask for fewer attention FLOPs than `dear`, or stops to.

    Layers that both have make no difference, and are left out first.
    """
    one, other = attending_layers(dear), attending_layers(cheap)
    return sign_changes(AttentionCurve(one - other), AttentionCurve(other - one))
