"""From which length on a layout is cheaper, against every length asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attention.cost import ONLY_LAYER
from attention.layout import parse_variant
from attention.sliding_window import SlidingWindow
from eval.cost.break_even import break_even_tokens, break_evens, speed_up_limit
from eval.cost.flops.closed_form import attention_flops
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


@pytest.mark.parametrize(
    ("layout", "limit"),
    [
        ("msa(64,topk=2,dim=8)", 4 * 6 * 16 / (2 * 2 * 8)),
        ("moba(32,topk=3)", 2 * 32),
        ("blocks(block=32,topk=8)", 2 * 32),
        ("blocks(block=32,topk=8,mean=true)", 2 * 32 / 3),
        ("blocks(causal_antidiagonal,32,topk=4,stride=8)", 2 * 8),
        ("spans(0.25N)", 1 / (1 - 0.75**2)),
        ("full", 1),
        ("swa(9)", math.inf),
        ("routed(9|full)", 2),
    ],
)
def test_what_is_saved_tends_to_the_limit_from_below(layout, limit):
    config = preset("tiny-dense")
    found = speed_up_limit(config, config.with_layout(layout))
    assert found == pytest.approx(limit)
    counts = [
        [attention_flops(parse_variant(text), config, n) for n in (10**3, 10**5, 10**7)] for text in ("full", layout)
    ]
    saved = [full / other for full, other in zip(*counts, strict=True)]
    assert saved == sorted(saved) and (limit == math.inf or 0.97 * limit < saved[-1] <= limit)


def test_between_two_windows_the_limit_is_that_of_their_keys():
    config = preset("tiny-dense")
    wide, narrow = config.with_layout("swa(30)"), config.with_layout("swa(12)")
    assert speed_up_limit(wide, narrow) == 2.5 and speed_up_limit(narrow, config) == 0


def test_no_limit_is_known_where_it_is_not_known_how_costs_go_on():
    class Own(SlidingWindow):
        def growth(self, heads, depth=ONLY_LAYER):
            return None

    config = preset("tiny-dense")
    assert speed_up_limit(config, config.with_layout(Own(9))) is None


def test_an_index_dearer_than_the_attention_it_saves_never_pays():
    config = preset("smollm2-135m")
    indexed = config.with_layout("dsa")
    assert speed_up_limit(config, indexed) == pytest.approx(4 * 9 * 64 / (2 * 16 * 128))
    assert break_even_tokens(config, indexed) is None
