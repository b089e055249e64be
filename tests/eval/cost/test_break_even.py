"""From which length on a layout is cheaper, against every length asked for."""

from __future__ import annotations

import numpy as np
import pytest

from eval.cost.break_even import break_even_tokens, break_evens
from refmodel.presets import preset

LONGEST = 3000


def keys(variant: str, p: int) -> int:
    """Keys that a query at p sees; a gate, which is half as dear as a pair, is half a key."""
    if variant == "full":
        return p + 1
    if variant.startswith("swa"):
        return min(p + 1, int(variant[4:-1]))
    own, before = p % 32 + 1, p // 32  # moba(32,topk=3)
    return own + 32 * min(before, 2) + before / 2


@pytest.mark.parametrize(
    ("dear", "cheap", "first", "for_good"),
    [
        ("full", "swa(13)", 14, 14),
        ("swa(13)", "full", None, None),
        ("swa(100)", "moba(32,topk=3)", 98, None),  # whose gates grow with the prompt
    ],
)
def test_break_even_is_where_it_stays_cheaper(dear, cheap, first, for_good):
    config = preset("tiny-dense")
    total = np.cumsum([keys(dear, p) - keys(cheap, p) for p in range(LONGEST)]) > 0
    changes = (1 + np.flatnonzero(np.diff(total, prepend=False))).tolist()
    models = config.with_layout(dear), config.with_layout(cheap)
    assert list(break_evens(*models).at) == changes and (changes[0] if changes else None) == first
    assert break_even_tokens(*models) == for_good == (changes[-1] if len(changes) % 2 else None)
