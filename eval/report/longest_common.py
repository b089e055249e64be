"""What layouts have at one length: the longest that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from eval.report.layout_result import LayoutResult


def longest_common(
    results: Iterable[LayoutResult], measure: Callable[[LayoutResult], object]
) -> dict[str, LayoutResult]:
    """By layout its result at the longest length at which every one that has the measure at all has it."""
    found: dict[str, dict[int, LayoutResult]] = {}
    for one in results:
        if measure(one) is not None:
            found.setdefault(one.name, {})[one.tokens] = one
    shared = set.intersection(*(set(rows) for rows in found.values())) if found else set()
    return {name: rows[max(shared)] for name, rows in found.items()} if shared else {}


def with_read(results: Sequence[LayoutResult]) -> tuple[LayoutResult, ...]:
    """Each result beside its layout's at the longest text that all have read."""
    texts = longest_common(results, lambda one: one.quality)
    return tuple(replace(one, read=texts.get(one.name)) for one in results)
