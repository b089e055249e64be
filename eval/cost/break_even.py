"""From which length on one layout asks for less attention than another."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

from eval.cost.crossover import Model
from eval.cost.curves import AttentionCurve, attending_layers
from eval.cost.sign_changes import SignChanges, sign_changes


def break_even_tokens(dear: Model, cheap: Model) -> int | None:
    """The first N from which on `cheap` asks for fewer attention FLOPs than `dear` (exact pairs), None if never."""
    return break_evens(dear, cheap).stays_from


def speed_up_limit(dear: Model, cheap: Model) -> Fraction | float | None:
    """What attention FLOPs of `dear` over those of `cheap` tend to as prompts grow: infinity where nothing bounds them,
    None where it is not known of some variant how its cost goes on.

    Of an index and above 1 it is the cap of what can be saved, at any length: the index alone looks at every key, and
    beside it what was chosen costs the more the shorter a prompt is.  Below 1 an index never pays.

    Examples:
        >>> from eval.cost.break_even import speed_up_limit
        >>> from refmodel.presets import preset
        >>> full = preset("qwen3-30b-a3b")
        >>> speed_up_limit(full, full.with_layout("msa")), speed_up_limit(full, full.with_layout("swa(1024)"))
        (Fraction(16, 1), inf)
    """
    courses = [AttentionCurve(attending_layers(model)).course for model in (dear, cheap)]
    if None in courses:
        return None
    (_, line, square), (_, cheap_line, cheap_square) = (course.quadratic for course in courses if course)
    if square or cheap_square:
        return square / cheap_square if cheap_square else math.inf
    return line / cheap_line if cheap_line else math.inf


@functools.cache  # a table, a page and a file ask for the same ones
def break_evens(dear: Model, cheap: Model) -> SignChanges:
    """Every N at which `cheap` starts to ask for fewer attention FLOPs than `dear`, or stops to.

    Layers that both have make no difference, and are left out first.
    """
    one, other = attending_layers(dear), attending_layers(cheap)
    return sign_changes(AttentionCurve(one - other), AttentionCurve(other - one))
