"""What each layout takes and what it loses, at the longest prompt and the longest text that all have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eval.quality.text_quality import TextQuality
from eval.report.layout_result import LayoutResult, Spread
from eval.report.longest_common import longest_common
from eval.report.summary import Summary


@dataclass(frozen=True)
class Trades:
    """By layout its time and what it loses: `what` was timed at so many tokens, so many tokens of text were read."""

    by_layout: dict[str, tuple[Spread, TextQuality]]
    what: str
    tokens: int
    read: int

    @property
    def told(self) -> str:
        """What stands to the right and what upwards."""
        return (
            f"Loss over {self.read:,} tokens of text against the time of {self.what} at {self.tokens:,} tokens (median "
            "and range). Down and left is better; the line joins the layouts that no other one beats on both."
        )


Measure = Callable[[LayoutResult], Spread | None]


def whole_ms(row: LayoutResult) -> Spread | None:
    """The whole prefill, as timed."""
    return row.whole_ms


def parts_ms(row: LayoutResult) -> Spread | None:
    """Attention and linear layers, timed apart, added."""
    if row.attention_ms is None or row.linear_ms is None:
        return None
    return Spread.sum([(row.attention_ms, 1), (row.linear_ms, 1)])


def frontier(points: dict[str, tuple[float, float]]) -> list[str]:
    """The names whose (time, loss) no other point matches or beats in both; fastest first."""
    kept: list[str] = []
    for name in sorted(points, key=points.__getitem__):
        if not kept or points[name][1] < points[kept[-1]][1]:
            kept.append(name)
    return kept


def trades(summary: Summary) -> Trades | None:
    """At the longest prompt and the longest text that all layouts share; None where no quality or no time is known."""
    quality = longest_common(summary.results, lambda row: row.quality)
    measures = {"the whole prefill": whole_ms, "attention and linear layers, timed apart": parts_ms}
    read = [row for row in summary.results if row.name in quality]
    costs = {what: longest_common(read, measure) for what, measure in measures.items()}
    what = max(costs, key=lambda one: len(costs[one]))
    cost, measure = costs[what], measures[what]
    if not cost:
        return None
    timed_tokens, read_tokens = (next(iter(rows.values())).tokens for rows in (cost, quality))
    found = {name: (ms, lost) for name in cost if (ms := measure(cost[name])) and (lost := quality[name].quality)}
    return Trades(found, what, timed_tokens, read_tokens)
