"""From where on choosing costs more than attention to what is chosen, against every length, one by one."""

from __future__ import annotations

import pytest

from attention.cost import ONLY_LAYER, Cost
from attention.full import Full
from eval.cost import second_crossover as subject
from eval.cost.second_crossover import choosing_overtakes
from refmodel.presets import preset

TINY = preset("tiny-dense")
LAST = 3001


def one_by_one(layout: str) -> int | None:
    """1 + the last length up to LAST at which chosen pairs cost as much as choosing them; None if LAST is one."""
    mixers = [layer.variant for layer in TINY.with_layout(layout).layers]
    choosing, heads = [mixer for mixer in mixers if str(mixer) not in {"full", "swa(5)"}], TINY.heads
    at_most = [
        n
        for n in range(1, LAST + 1)
        for costs in [[mixer.useful(heads, n) for mixer in choosing]]
        if sum(cost.selection_flops for cost in costs) <= 4 * heads.head_dim * sum(cost.pairs for cost in costs)
    ]
    return None if at_most[-1:] == [LAST] else 1 + at_most[-1] if at_most else 1


@pytest.mark.parametrize(
    "layout",
    [
        "dsa(k=7, heads=3, dim=6)", "dsa(k=61, heads=3, dim=6)+full+swa(5)+msa(block=11, topk=5, dim=14)",
        "msa(block=5, topk=3, dim=10)", "qsa(budget=21, pool=3, heads=2, dim=12)", "moba(block=7, topk=3)",
        "blocks(rule=causal_antidiagonal, block=16, topk=5)", "blocks(block=3, topk=11, mean=true)", "dsa(k=2)",
        "moba(block=13, topk=5)+3*moba(block=3, topk=2)",
    ],
)  # fmt: skip
def test_the_second_crossover_is_the_last_length_at_which_choosing_is_cheaper(monkeypatch, layout):
    monkeypatch.setattr(subject, "LONGEST_TOKENS", LAST)
    assert choosing_overtakes(TINY.with_layout(layout)) == one_by_one(layout)


@pytest.mark.parametrize(
    "layout",
    [
        "full", "swa(7)", "evict(h2o, budget=64)", "evict_after(snapkv, budget=37)", "routed(3|full, router=random)",
        "moba(53, topk=1)",
    ],
)  # fmt: skip
def test_without_a_look_at_every_key_there_is_none(layout):
    assert choosing_overtakes(TINY.with_layout(layout)) is None


def test_a_choice_that_leaves_no_more_out_as_prompts_grow_has_none():
    """Twice as dear as all of its pairs, from the first token on."""

    class Dear(Full):
        def useful(self, heads, tokens, start=0, depth=ONLY_LAYER):
            pairs = super().useful(heads, tokens, start, depth).pairs
            return Cost(pairs, 8 * heads.head_dim * pairs)

    assert choosing_overtakes(TINY.with_layout(Dear())) is None


def test_a_longer_one_is_not_looked_for(monkeypatch):
    model = preset("qwen3-30b-a3b").with_layout("msa")
    assert choosing_overtakes(model) == 57_634
    monkeypatch.setattr(subject, "LONGEST_TOKENS", 57_634)
    assert choosing_overtakes(model) == 57_634
    monkeypatch.setattr(subject, "LONGEST_TOKENS", 57_633)
    assert choosing_overtakes(model) is None
