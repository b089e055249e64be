"""What is known of one layout at one length, off the records of its cells; what was not measured is None."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from attention.full import FULL
from eval.cost.flops.closed_form import NOT_LINEAR
from eval.measure.named_layout import NamedLayout
from eval.measure.records.schema import UNTOLD, Record
from eval.quality.text_quality import Stretch, TextQuality

Part = Literal["whole", "linear", "attention"]
Cells = Mapping[tuple[str, str], Record]
"""Records of one length, by kind and layout's name."""


@dataclass(frozen=True)
class Spread:
    """Milliseconds: the median of so many samples, the fastest and the slowest.

    Of a sum of parts that were timed apart, `samples` is the number of the part that has the fewest.
    """

    median: float
    low: float
    high: float
    samples: int

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Spread:
        return cls(statistics.median(samples_ms), min(samples_ms), max(samples_ms), len(samples_ms))

    @classmethod
    def sum(cls, parts: Sequence[tuple[Spread, int]]) -> Spread:
        """Of parts that were timed apart, each as often as it counts."""
        median, low, high = (sum(n * getattr(part, edge) for part, n in parts) for edge in ("median", "low", "high"))
        return cls(median, low, high, min(part.samples for part, _ in parts))


@dataclass(frozen=True)
class PartFlops:
    """Scores, values and selection of all layers; every other matrix of the layers; the head on the last token."""

    attention: int
    linear: int
    head: int

    @classmethod
    def of(cls, components: Mapping[str, int]) -> PartFlops:
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
class MemoryUse:
    """Of the whole prefill: planned by the compiler (arguments, temporaries, outputs) and the process's peak."""

    planned_bytes: int | None
    rss_peak_bytes: int | None


@dataclass(frozen=True)
class LayoutResult:
    """One layout at one length.

    Attributes:
        impl, asked: what ran, and what was asked for: `auto` may run different kernels for different variants.
        status: of the whole prefill, None where none was tried.
        quality, text: over the first `tokens` of that text.
        perplexity_change: over full attention's on the same text, - 1.
        read: its result over the longest text that all layouts have read.
        peak_flops_per_s: of the device in this dtype, where that is known.
        batch: prompts that went through at once: times, FLOPs and memory are of all of them.
    """

    layout: NamedLayout
    tokens: int
    impl: str = ""
    asked: str = ""
    status: str | None = None
    error: str = ""
    whole_ms: Spread | None = None
    linear_ms: Spread | None = None
    attention_ms: Spread | None = None
    useful: PartFlops | None = None
    executed: PartFlops | None = None
    memory: MemoryUse | None = None
    quality: TextQuality | None = None
    text: str = ""
    whole_gain: Gain = Gain()
    attention_gain: Gain = Gain()
    perplexity_change: float | None = None
    read: LayoutResult | None = None
    peak_flops_per_s: float | None = None
    batch: int = 1

    @property
    def name(self) -> str:
        """The layout's."""
        return self.layout.name

    @property
    def share_measured(self) -> float | None:
        """attention / (attention + linear), the two timed apart."""
        if self.attention_ms is None or self.linear_ms is None:
            return None
        return self.attention_ms.median / (self.attention_ms.median + self.linear_ms.median)

    @property
    def share_predicted(self) -> float | None:
        """The same of useful FLOPs, without the head."""
        useful = self.useful
        return useful.attention / (useful.attention + useful.linear) if useful else None

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """The quality along the text, none where none was read."""
        return self.quality.by_position if self.quality else ()

    @property
    def tokens_per_s(self) -> float | None:
        """Of the prompts, over the median of the whole prefill."""
        return 1e3 * self.batch * self.tokens / self.whole_ms.median if self.whole_ms else None

    @property
    def useful_flops_per_s(self) -> float | None:
        """Of the whole prefill."""
        return self.useful.whole / self.whole_ms.median * 1e3 if self.useful and self.whole_ms else None

    @property
    def peak_share(self) -> float | None:
        """The same over the device's peak."""
        return _ratio(self.useful_flops_per_s, self.peak_flops_per_s)


T = TypeVar("T")


def having(results: Iterable[LayoutResult], value: Callable[[LayoutResult], T | None]) -> list[tuple[LayoutResult, T]]:
    """Those that have the value, each with it."""
    pairs = ((one, value(one)) for one in results)
    return [(one, found) for one, found in pairs if found is not None]


def layout_result(layout: NamedLayout, tokens: int, cells: Cells) -> LayoutResult:
    """From records of one length: `prefill` and `quality` of the layout, full's `linear`, `attention` of variants."""
    whole, linear, quality = (
        cells.get(cell) for cell in (("prefill", layout.name), ("linear", FULL), ("quality", layout.name))
    )
    kernels = [(cells.get(("attention", str(variant))), n) for variant, n in layout.counts.items()]
    ran = [record for record in (whole, *(kernel for kernel, _ in kernels)) if record]
    read = quality if quality and quality.status == "ok" else None
    return LayoutResult(
        layout=layout,
        tokens=tokens,
        impl="+".join(dict.fromkeys(record.impl for record in ran)),
        asked="+".join(dict.fromkeys(record.asked for record in ran)),
        status=whole.status if whole else None,
        error=whole.error if whole else "",
        whole_ms=_sum_spread([(whole, 1)]),
        linear_ms=_sum_spread([(linear, 1)]),
        attention_ms=_sum_spread(kernels),
        useful=_flops(whole, linear, kernels, "useful"),
        executed=_flops(whole, linear, kernels, "executed"),
        memory=_memory(whole),
        quality=read.quality if read else None,
        text=read.text.name if read and read.text else "",
    )


def beside_full(result: LayoutResult, full: LayoutResult | None) -> LayoutResult:
    """The result with its factors over full attention; without any where the two are not comparable."""
    if full is None:
        return result
    if result.quality and full.quality:
        result = replace(result, perplexity_change=result.quality.perplexity / full.quality.perplexity - 1)
    if result.asked != full.asked:
        return result
    return replace(result, whole_gain=_gain(full, result, "whole"), attention_gain=_gain(full, result, "attention"))


def _gain(full: LayoutResult, result: LayoutResult, part: str) -> Gain:
    def reduction(measure: str, figure: str) -> float | None:
        before, after = getattr(full, measure), getattr(result, measure)
        return _ratio(before and getattr(before, figure), after and getattr(after, figure))

    return Gain(reduction(f"{part}_ms", "median"), reduction("useful", part), reduction("executed", part))


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


Counted = Sequence[tuple[Record | None, int]]
"""Records of cells, each with how often it counts."""


def _sum_spread(cells: Counted) -> Spread | None:
    """Time of all cells, each as often as it is counted; None if one of them was not measured."""
    timed = [(record.timing, n) for record, n in cells if record and record.status == "ok" and record.timing]
    if len(timed) < len(cells):
        return None
    return Spread.sum([(Spread.of(timing.samples_ms), n) for timing, n in timed])


def _flops(
    whole: Record | None, linear: Record | None, kernels: Counted, count: Literal["useful", "executed"]
) -> PartFlops | None:
    """Of the whole prefill, or where that failed the sum of its parts; None where a library did not tell."""
    ran = [record for record in (whole, *(kernel for kernel, _ in kernels)) if record]
    if count == "executed" and any(UNTOLD in record.executed_from.values() for record in ran):
        return None
    if whole and whole.flops:
        return PartFlops.of(getattr(whole.flops, count))
    counted = [(kernel.flops, n) for kernel, n in kernels if kernel and kernel.flops]
    if not (linear and linear.flops) or len(counted) < len(kernels):
        return None
    attention = sum(n * getattr(flops, count)["attention"] for flops, n in counted)
    return PartFlops.of({**getattr(linear.flops, count), "attention": attention})


def _memory(record: Record | None) -> MemoryUse | None:
    if not record or not record.memory:
        return None
    memory = record.memory
    planned = [one for one in (memory.argument_bytes, memory.temp_bytes, memory.output_bytes) if one is not None]
    return MemoryUse(sum(planned) if len(planned) == 3 else None, memory.rss_peak_bytes)
