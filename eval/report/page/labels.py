"""Numbers as the report's ticks and tips say them."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.layout_result import Gain, LayoutResult, Spread
from eval.report.number_format import count, factor, percent, samples, spread


def tokens(value: float) -> str:
    return count(round(value))


def time_tick(ms: float) -> str:
    """`300 ms`, `3 s`: round numbers without the zeros that a measurement would need."""
    return f"{ms / 1e3:,.6g} s" if ms >= 1e3 else f"{ms:,.6g} ms"


def plain(value: float) -> str:
    return f"{value:,.6g}"


def factor_tick(value: float) -> str:
    return f"{value:,.4g}x"


def share_tick(value: float) -> str:
    return f"{100 * value:.4g} %"


def time_tip(what: str, row: LayoutResult, ms: Spread) -> Sequence[str]:
    return f"{tokens(row.tokens)} tokens", f"{what}: {spread(ms)}", samples(ms)


def gain_tip(what: str, row: LayoutResult, gain: Gain) -> Sequence[str]:
    """Of a point of the realisation figure."""
    return (
        f"{tokens(row.tokens)} tokens, {what}",
        f"speed-up {factor(gain.speed_up)}, useful FLOPs {factor(gain.useful_reduction)} fewer",
        f"executed FLOPs {factor(gain.executed_reduction)} fewer",
        f"realisation {percent(gain.realisation)}",
    )
