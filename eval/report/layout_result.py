"""What is known of one layout at one length: times, FLOPs, memory, quality, read off the records of its cells.

What was not measured is None; nothing is interpolated.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attention.full import FULL
from eval.cost.flops.closed_form import NOT_LINEAR
from eval.measure.records import UNTOLD, Record


@dataclass(frozen=True)
class Spread:
    """Milliseconds: the median of the samples, the fastest and the slowest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Spread:
        return cls(statistics.median(samples_ms), min(samples_ms), max(samples_ms))


@dataclass(frozen=True)
class Flops:
    """Scores, values and selection of all layers; every other matrix of the layers; the head on the last token."""

    attention: int
    linear: int
    head: int

    @classmethod
    def of(cls, components: Mapping[str, int]) -> Flops:
        attention, selection, head = (components.get(name, 0) for name in NOT_LINEAR)
        attention += selection
        return cls(attention, sum(components.values()) - attention - head, head)

    @property
    def whole(self) -> int:
        return self.attention + self.linear + self.head


@dataclass(frozen=True)
class Gain:
    """Factors over full attention at the same length, device, dtype and implementation; above 1 is better."""

    speed_up: float | None = None
    useful_reduction: float | None = None
    executed_reduction: float | None = None

    @property
    def realisation(self) -> float | None:
        """speed-up / useful FLOP reduction: 1 when the machine gives the whole saving back as time."""
        return _ratio(self.speed_up, self.useful_reduction)


@dataclass(frozen=True)
class Memory:
    """Of the whole prefill: planned by the compiler (arguments, temporaries, outputs) and the process's peak."""

    planned_bytes: int | None
    rss_peak_bytes: int | None


@dataclass(frozen=True)
class Quality:
    """Over one pass of `tokens` of the text; `by_position` holds dicts of first, last, perplexity, kl_nats."""

    perplexity: float
    kl_nats: float
    top1_agreement: float
    by_position: tuple[dict[str, Any], ...]
    text: str


@dataclass(frozen=True)
class Row:
    """One layout at one length.  `status` is that of the whole prefill, None where none was tried; `impl` names what
    ran, `asked` what was asked for: `auto` may run different kernels for different variants."""

    layout: str
    tokens: int
    impl: str = ""
    asked: str = ""
    status: str | None = None
    error: str = ""
    whole_ms: Spread | None = None
    linear_ms: Spread | None = None
    attention_ms: Spread | None = None
    useful: Flops | None = None
    executed: Flops | None = None
    memory: Memory | None = None
    quality: Quality | None = None
    whole_gain: Gain = Gain()
    attention_gain: Gain = Gain()

    @property
    def share_measured(self) -> float | None:
        """attention / (attention + linear), the two timed apart."""
        if self.attention_ms is None or self.linear_ms is None:
            return None
        return self.attention_ms.median / (self.attention_ms.median + self.linear_ms.median)

    @property
    def share_predicted(self) -> float | None:
        """The same of useful FLOPs, without the head."""
        return self.useful and self.useful.attention / (self.useful.attention + self.useful.linear)


def row_of(layout: str, variants: Mapping[str, int], tokens: int, cells: Mapping[tuple[str, str], Record]) -> Row:
    """The row of a layout that has each variant on so many layers, from the records of one length.

    `cells` are by kind and layout or variant: `prefill` and `quality` of the layout, `linear` of full attention, and
    `attention` of each variant.
    """
    whole, linear, quality = (cells.get(cell) for cell in (("prefill", layout), ("linear", FULL), ("quality", layout)))
    kernels = [(cells.get(("attention", variant)), n) for variant, n in variants.items()]
    return Row(
        layout=layout,
        tokens=tokens,
        impl="+".join(dict.fromkeys(r["impl"] for r in (whole, *(kernel for kernel, _ in kernels)) if r)),
        asked="+".join(dict.fromkeys(r.get("asked", r["impl"]) for r in (whole, *(k for k, _ in kernels)) if r)),
        status=whole and whole["status"],
        error=(whole or {}).get("error", ""),
        whole_ms=_sum_spread([(whole, 1)]),
        linear_ms=_sum_spread([(linear, 1)]),
        attention_ms=_sum_spread(kernels),
        useful=_flops(whole, linear, kernels, "useful"),
        executed=_flops(whole, linear, kernels, "executed"),
        memory=_memory(whole),
        quality=_quality(quality),
    )


def beside(row: Row, full: Row | None) -> Row:
    """The row with its factors over full attention; without any where the two are not comparable."""
    if full is None or row.asked != full.asked:
        return row
    return replace(row, whole_gain=_gain(full, row, "whole"), attention_gain=_gain(full, row, "attention"))


def _gain(full: Row, row: Row, part: str) -> Gain:
    def reduction(measure: str, figure: str) -> float | None:
        before, after = getattr(full, measure), getattr(row, measure)
        return _ratio(before and getattr(before, figure), after and getattr(after, figure))

    return Gain(reduction(f"{part}_ms", "median"), reduction("useful", part), reduction("executed", part))


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _sum_spread(cells: list[tuple[Record | None, int]]) -> Spread | None:
    """Time of all cells, each as often as it is counted; None if one of them was not measured."""
    if any(record is None or record["status"] != "ok" for record, _ in cells):
        return None
    parts = [(Spread.of(record["timing"]["samples_ms"]), n) for record, n in cells]
    return Spread(*(sum(n * getattr(part, figure) for part, n in parts) for figure in ("median", "low", "high")))


def _flops(
    whole: Record | None, linear: Record | None, kernels: list[tuple[Record | None, int]], count: str
) -> Flops | None:
    """Of the whole prefill, or where that failed the sum of its parts; None where a library did not tell."""
    told_by = [record.get("executed_from", {}) for record in (whole, *(kernel for kernel, _ in kernels)) if record]
    if count == "executed" and any(UNTOLD in sources.values() for sources in told_by):
        return None
    if whole and "flops" in whole:
        return Flops.of(whole["flops"][count])
    if any(not record or "flops" not in record for record in (linear, *(kernel for kernel, _ in kernels))):
        return None
    attention = sum(n * kernel["flops"][count]["attention"] for kernel, n in kernels)
    return Flops.of(linear["flops"][count] | {"attention": attention})


def _memory(record: Record | None) -> Memory | None:
    if not record or "memory" not in record:
        return None
    planned = [record["memory"].get(f"{part}_bytes") for part in ("argument", "temp", "output")]
    return Memory(None if None in planned else sum(planned), record["memory"].get("rss_peak_bytes"))


def _quality(record: Record | None) -> Quality | None:
    if not record or record["status"] != "ok":
        return None
    found = record["quality"]
    figures = (found[figure] for figure in ("perplexity", "kl_nats", "top1_agreement"))
    return Quality(*figures, tuple(found["by_position"]), record["text"]["name"])
