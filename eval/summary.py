"""From measurement records to rows that compare: one row per layout and length, everything beside full attention.

Pure functions of the records: the terminal, the Markdown report and the plots all read the same `Summary`.
What was not measured is None; nothing is interpolated.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attention.layout import format_layout, parse_layout
from eval.flops.closed_form import NOT_LINEAR
from eval.records import UNTOLD, Record, latest
from refmodel.config import ModelConfig

FULL = "full"
NO_IMPL = "none"
"""`impl` of a record in which no attention kernel ran."""


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


@dataclass(frozen=True)
class Summary:
    """One model on one device in one dtype; `impl` names the attention implementations that ran."""

    config: ModelConfig
    device: str
    dtype: str
    impl: str
    rows: tuple[Row, ...]
    records: tuple[Record, ...]

    @property
    def layouts(self) -> tuple[str, ...]:
        """In the order of the records, full attention first."""
        found = dict.fromkeys(row.layout for row in self.rows)
        return tuple(sorted(found, key=lambda layout: layout != FULL))

    @property
    def failures(self) -> tuple[Record, ...]:
        """What was tried and did not work."""
        return tuple(record for record in self.records if record["status"] != "ok")

    @property
    def is_empty(self) -> bool:
        """Whether no layout has a figure, neither a time nor a quality."""
        apart = any(record["kind"] == "apart" and record["status"] == "ok" for record in self.records)
        return not apart and not any(row.whole_ms or row.attention_ms or row.quality for row in self.rows)

    def at_longest(self) -> Summary:
        """With the rows of the longest prompt that has a time, or of the longest of all where none has.

        A cell that failed does not choose: beyond what fits into memory there is nothing to compare.
        """
        timed = [row for row in self.rows if row.whole_ms or row.attention_ms]
        longest = max((row.tokens for row in timed or self.rows), default=0)
        return replace(self, rows=tuple(row for row in self.rows if row.tokens == longest))

    def of(self, layout: str) -> tuple[Row, ...]:
        """A layout's rows, shortest prompt first."""
        return tuple(row for row in self.rows if row.layout == layout)

    def samples_ms(self, kind: str, layout: str) -> dict[int, tuple[float, ...]]:
        """All samples of a part, per length: ("linear", "full") or ("attention", variant)."""
        cells = [r for r in self.records if (r["status"], r["kind"], r["layout"]) == ("ok", kind, layout)]
        return {r["tokens"]: tuple(r["timing"]["samples_ms"]) for r in sorted(cells, key=lambda r: r["tokens"])}

    def variants(self, layout: str) -> Counter[str]:
        """How many layers of a layout have each variant."""
        return Counter(str(variant) for variant in parse_layout(layout, self.config.n_layers))


def summarise(records: Iterable[Record], config: ModelConfig) -> tuple[Summary, ...]:
    """One summary per device and dtype, and per implementation where a cell was measured under several.

    Of several records of a cell the newest counts; of several texts, the one read last.  Raises `ValueError` for
    records of more than one model, and for a layout that `config` cannot have.
    """
    spelled = (r | {"layout": format_layout(parse_layout(r["layout"], config.n_layers))} for r in latest(records))
    kept = _of_one_text(list(spelled))
    models = sorted({record["model"] for record in kept})
    if len(models) > 1:
        raise ValueError(f"a summary is of one model, the records are of {', '.join(models)}")
    settings: dict[tuple[str, str], list[Record]] = {}
    for record in kept:
        settings.setdefault((record["device"], record["dtype"]), []).append(record)
    return tuple(
        _summary(config, [record for record in part if record["impl"] in (*impls, NO_IMPL)], impls)
        for part in settings.values()
        for impls in _impl_groups(part)
    )


def _of_one_text(records: list[Record]) -> list[Record]:
    """Perplexities of two texts do not compare."""
    read = [record for record in records if record["kind"] == "quality"]
    text = max(read, key=lambda r: r["time"]).get("text_sha256") if read else None
    return [record for record in records if record["kind"] != "quality" or record.get("text_sha256") == text]


def _impl_groups(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """Which implementations belong in one summary: all (`auto` may switch with N), unless they compete for a cell."""
    cells = [(r["impl"], (r["kind"], r["layout"], r["tokens"])) for r in records if r["impl"] != NO_IMPL]
    impls = tuple(dict.fromkeys(impl for impl, _ in cells))
    compete = len({cell for _, cell in cells}) < len(cells)
    return [(impl,) for impl in impls] if compete else [impls]


def _summary(config: ModelConfig, records: list[Record], impls: tuple[str, ...]) -> Summary:
    summary = Summary(config, records[0]["device"], records[0]["dtype"], "+".join(impls), (), tuple(records))
    layouts = dict.fromkeys(record["layout"] for record in records if record["kind"] in ("prefill", "quality"))
    layouts |= dict.fromkeys(layout for record in records for layout in record.get("layouts", ()))
    lengths = sorted({record["tokens"] for record in records})
    rows = [_row(summary, layout, tokens) for tokens, layout in itertools.product(lengths, layouts)]
    rows = [row for row in rows if row.status or row.attention_ms or row.quality]
    full = {row.tokens: row for row in rows if row.layout == FULL}
    return replace(summary, rows=tuple(_beside(row, full.get(row.tokens)) for row in rows))


def _row(summary: Summary, layout: str, tokens: int) -> Row:
    cells = {(r["kind"], r["layout"]): r for r in summary.records if r["tokens"] == tokens}
    whole, linear, quality = (cells.get(cell) for cell in (("prefill", layout), ("linear", FULL), ("quality", layout)))
    kernels = [(cells.get(("attention", variant)), n) for variant, n in summary.variants(layout).items()]
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


def _beside(row: Row, full: Row | None) -> Row:
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
