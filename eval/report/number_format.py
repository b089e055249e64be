"""Numbers as people read them: three significant digits, a fitting unit, a dash for what is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.report.layout_result import Spread

NOTHING = "-"


def number(value: float) -> str:
    """Three significant digits at least, thousands separated: 0.0123, 1.23, 12.3, 1,235."""
    if not math.isfinite(value):
        return str(value)
    decimals = 2 - math.floor(math.log10(abs(float(f"{value:.3g}")))) if value else 0  # rounded first: 9.999 is 10.0
    return f"{value:,.{max(decimals, 0)}f}"


def _scaled(value: float | None, units: Mapping[float, str]) -> str:
    """In the largest unit that the value reaches, or the smallest there is."""
    if value is None:
        return NOTHING
    scale = max((scale for scale in units if scale <= abs(value)), default=min(units))
    return f"{number(value / scale)} {units[scale]}"


def duration(ms: float | None) -> str:
    return _scaled(ms, {1: "ms", 1e3: "s"})


def flops(value: float | None) -> str:
    return _scaled(value, {1: "FLOP", 1e3: "kFLOP", 1e6: "MFLOP", 1e9: "GFLOP", 1e12: "TFLOP", 1e15: "PFLOP"})


def size(value: float | None) -> str:
    return _scaled(value, {1: "B", 1e3: "kB", 1e6: "MB", 1e9: "GB"})


def spread(ms: Spread | None) -> str:
    """`1.23 s (1.20-1.29)`, all in the unit of the median."""
    if ms is None:
        return NOTHING
    scale, unit = (1e3, "s") if ms.median >= 1e3 else (1, "ms")
    middle, low, high = (number(value / scale) for value in (ms.median, ms.low, ms.high))
    return f"{middle} {unit} ({low}-{high})"


def samples(ms: Spread) -> str:
    """`5 samples`."""
    return f"{ms.samples:,} sample{'' if ms.samples == 1 else 's'}"


def count(value: int) -> str:
    return f"{value:,}"


def fitted(value: float) -> str:
    """A number of tokens that is known to three digits at best."""
    return "unbounded" if math.isinf(value) else f"{float(f'{value:.3g}'):,.0f}"


def factor(value: float | None) -> str:
    return NOTHING if value is None else f"{number(value)}x"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f} %"


def signed_percent(change: float) -> str:
    return f"{100 * change:+.2f} %"
