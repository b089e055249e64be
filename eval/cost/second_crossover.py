"""The wall behind the wall: from which length on choosing keys costs more than attending to the chosen ones.

A layer that looks at every key before it chooses a bounded number of them has a quadratic cost of its own,

    S(N) = i · N²/2,   M(N) = c · keys · N,   S = M at N = 2 · c · keys / i

to leading order.  Here both are exact: with the projections of an index, queries that see all, and blocks that grow.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from attention.cost import Cost
from eval.cost.crossover import FAR_TOKENS, first_true
from eval.cost.curves import AttendingLayer, AttentionCurve, attending_layers
from refmodel.specification import ModelConfig

LONGEST_TOKENS: Final = FAR_TOKENS
"""No longer prompt is looked at."""


def choosing_overtakes(model: ModelConfig) -> int | None:
    """From which N on the layers that choose among all keys spend more FLOPs on choosing than on what they chose.

    Until the choice leaves something out, projections may cost more than attention to few keys: that is no wall, and
    N is where it is so for good.  From there on a token adds at most a bounded number of pairs and ever more to be
    looked at, so that the difference falls and then rises, and is zero once.

    None without such a layer, and where it is later than `LONGEST_TOKENS`.

    Examples:
        >>> from eval.cost.second_crossover import choosing_overtakes
        >>> from refmodel.presets import preset
        >>> model = preset("qwen3-30b-a3b")
        >>> [choosing_overtakes(model.with_layout(layout)) for layout in ("dsa", "msa", "full", "swa(1024)")]
        [11646, 57634, None, None]
    """
    choosing = Counter({one: times for one, times in attending_layers(model).items() if _looks_at_every_key(one)})

    def exceeds(tokens: int) -> bool:
        found = [(_cost(one, tokens), times, 4 * one.heads.head_dim) for one, times in choosing.items()]
        return sum(times * (cost.selection_flops - pair * cost.pairs) for cost, times, pair in found) > 0

    if not choosing or not exceeds(LONGEST_TOKENS):
        return None
    course = AttentionCurve(choosing).course
    assert course, "a layer that looks at every key knows how it grows"
    settled = course.settled_tokens
    if not exceeds(settled):
        return first_true(exceeds, settled)
    return 1 + next((n for n in range(settled - 1, 0, -1) if not exceeds(n)), 0)


def _looks_at_every_key(one: AttendingLayer) -> bool:
    """Whether the cost grows with the square of the length and the pairs do not; of lots nothing is said."""
    growth = one.mixer.growth(one.heads, one.depth)
    course = AttentionCurve(Counter({one: 1})).course
    if growth is None or growth.lot or course is None or not course.quadratic[-1]:
        return False
    short, long = (_cost(one, tokens) for tokens in (LONGEST_TOKENS, 2 * LONGEST_TOKENS))
    return long.pairs < 3 * short.pairs


def _cost(one: AttendingLayer, tokens: int) -> Cost:
    return one.mixer.at_length(tokens).useful(one.heads, tokens, depth=one.depth)
