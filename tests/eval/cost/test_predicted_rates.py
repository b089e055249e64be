"""Rates of lengths that nobody published, against those that somebody did, left out and asked for again."""

from __future__ import annotations

import dataclasses

import pytest

from eval.cost.predicted_rates import predicted_rates
from eval.cost.published import published

ROWS = [row for row in published() if row.setup.backend == "ROCm" and row.model.startswith(("ministral", "qwen3-30b"))]


def test_each_length_is_predicted_in_the_fastest_setup_of_each_file():
    found = predicted_rates(ROWS, "qwen3-30b-a3b", [4099, 16_411, 65_537])
    own = [row for row in ROWS if row.model == "qwen3-30b-a3b" and not row.decode]
    files = sorted({(row.name, row.quant, row.setup.cards) for row in own})
    assert [(one.row.name, one.row.quant, one.row.setup.cards) for one in found[::3]] == files
    assert [one.row.tokens for one in found] == [4099, 16_411, 65_537] * len(files)
    for i, file in enumerate(files):
        of_file = [row for row in own if (row.name, row.quant, row.setup.cards) == file]
        longest = max(row.depth + row.tokens for row in of_file)
        best = max((row.tokens_per_s, row.setup) for row in of_file if row.depth + row.tokens == longest)[1]
        rates = [one.tokens_per_s for one in found[3 * i : 3 * i + 3] if one.row.setup == best]
        assert len(rates) == 3 and rates == sorted(rates, reverse=True)


def test_at_a_published_length_it_is_the_published_rate():
    own = [row for row in ROWS if row.model == "ministral-3-8b" and row.depth and not row.decode]
    best = max(own, key=lambda row: row.tokens_per_s)
    (found,) = predicted_rates(ROWS, "ministral-3-8b", [best.tokens], best.depth)
    assert found.row.setup == best.setup and found.low < best.tokens_per_s < found.high
    assert found.tokens_per_s == pytest.approx(best.tokens_per_s, rel=0.05)


def test_decode_says_nothing_of_prompts_and_machines_with_more_cards_are_others():
    own = [row for row in ROWS if row.model == "ministral-3-8b" and not row.decode]
    longest = max(own, key=lambda row: row.depth)
    decoded = dataclasses.replace(longest, decode=True, depth=99_991)
    doubled = dataclasses.replace(longest, setup=dataclasses.replace(longest.setup, cards=7))
    near, deep = (predicted_rates([*own, decoded, doubled], "ministral-3-8b", [2048], depth) for depth in (0, 9001))
    assert [one.row.setup.cards for one in near] == [1, 7] and not any(one.row.decode for one in near + deep)
    assert [one.row.depth for one in near + deep] == [0, 0, 9001, 9001]
    assert all(one.tokens_per_s > other.tokens_per_s for one, other in zip(near, deep, strict=True))


def test_of_a_model_without_a_published_rate_nothing_is_predicted():
    with pytest.raises(
        ValueError, match=r"no rate of a prompt of qwen3-4b is published, .* of ministral-3-14b, minist"
    ):
        predicted_rates(ROWS, "qwen3-4b", [4099])
