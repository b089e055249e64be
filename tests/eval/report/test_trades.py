"""What is compared, and who beats whom."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.report.longest_common import longest_common
from eval.report.trades import frontier, parts_ms, trades
from tests.eval.report.synthetic_records import LAYOUTS, summaries, synthetic_records

[SUMMARY] = summaries(synthetic_records())
POSITIVE = st.floats(1e-3, 1e6)


@given(st.dictionaries(st.text(max_size=3), st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=9))
def test_nobody_beats_the_frontier(points):
    best = frontier(points)
    beaten = {a for a in points for b in points if b != a and points[b] != points[a]
              and points[b][0] <= points[a][0] and points[b][1] <= points[a][1]}  # fmt: skip
    assert not beaten & set(best)
    assert {points[name] for name in points.keys() - beaten} == {points[name] for name in best}


def test_layouts_are_compared_at_the_longest_length_that_all_have():
    rows = longest_common(SUMMARY.results, lambda row: row.quality)
    assert {row.tokens for row in rows.values()} == {4096}
    timed = [replace(one, whole_ms=None) if (one.name, one.tokens) == ("swa(1024)", 8192) else one
             for one in SUMMARY.results]  # fmt: skip
    assert {row.tokens for row in longest_common(timed, lambda row: row.whole_ms).values()} == {4096}
    row = SUMMARY.results[0]
    assert parts_ms(row).median == pytest.approx(row.attention_ms.median + row.linear_ms.median)
    assert parts_ms(row).samples == min(row.attention_ms.samples, row.linear_ms.samples)


def test_the_time_is_the_one_that_most_layouts_have():
    both = trades(SUMMARY)
    assert (both.what, both.tokens, both.read, set(both.by_layout)) == ("the whole prefill", 8192, 4096, set(LAYOUTS))
    one_whole = [r for r in synthetic_records() if (r["kind"], r["layout"]) != ("prefill", "swa(1024)")]
    parts = trades(summaries(one_whole)[0])
    assert parts.what.startswith("attention and linear layers") and set(parts.by_layout) == set(LAYOUTS)
    assert parts.by_layout["full"][0] == parts_ms(SUMMARY.of("full")[-1])
    assert "8,192 tokens" in parts.told and "4,096 tokens of text" in parts.told
    assert trades(summaries(synthetic_records(quality_tokens=0))[0]) is None
