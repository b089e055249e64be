"""The numbers of the report as tidy rows: one a row, with its unit, its interval and what kind of number it is."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from eval.cost.break_even import break_even_tokens
from eval.cost.crossover import limiting_share
from eval.measure.named_layout import NamedLayout
from eval.report.crossover_fit import Crossover
from eval.report.floor_table import FLOOR_CARD, FLOOR_MODEL
from eval.report.layout_result import Gain, LayoutResult, PartFlops, Spread
from eval.report.page.prediction import Prefill
from eval.report.run_facts import CONVENTION
from eval.report.summary import Summary

KINDS = {
    "measured": "timed or read off a run; low and high are the fastest and slowest sample",
    "counted": "exact, from the pattern",
    "fitted": "from a fit to the samples; low and high are a 90 % interval",
    "predicted": "nothing ran; low and high are what published efficiencies span",
    "floor": "the least that the card's peak and bandwidth allow",
    "failed": "was tried and gave no figure",
}
"""What `kind` may be."""


@dataclass(frozen=True)
class Number:
    """One number.  `part` says of what in the prefill, `quantity` what is given, `unit` in which unit (1: a ratio)."""

    model: str
    device: str
    dtype: str
    impl: str
    convention: str
    layout: str
    tokens: int | None
    part: str
    quantity: str
    kind: str
    unit: str
    value: float | int | None
    low: float | None = None
    high: float | None = None
    note: str = ""


Crossovers = tuple[Mapping[str, Crossover], Mapping[str, int | None]]


def all_numbers(
    summaries: Sequence[Summary], crossovers: Sequence[Crossovers], predicted: Iterable[Prefill]
) -> list[Number]:
    """Of everything that the report shows."""
    found = [figure for pair in zip(summaries, crossovers, strict=True) for figure in _of_summary(*pair)]
    return found + [figure for one in predicted for figure in _of_prediction(one)]


def to_csv(figures: Iterable[Number]) -> str:
    """With a header; what is not known is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Number)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(figure) for figure in figures)
    return out.getvalue()


def to_json(figures: Iterable[Number], run: Mapping[str, Any]) -> str:
    """The same rows under what was run, the convention and the words that the rows use; no bound is null."""
    record = {
        "command": "compare",
        **run,
        "conventions": {"layers": CONVENTION.replace("*", "").replace("`", ""), "kinds": KINDS,
                        "units": "in each row; 1 is a ratio; a bound that is infinite is null, and the note says so"},
        "rows": [asdict(_finite(figure)) for figure in figures],
    }  # fmt: skip
    return json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _finite(figure: Number) -> Number:
    if figure.high is not None and math.isinf(figure.high):
        return replace(figure, high=None, note=f"{figure.note}; no upper bound".removeprefix("; "))
    return figure


def _of_summary(summary: Summary, crossovers: Crossovers) -> Iterator[Number]:
    blank = Number(
        summary.config.name, summary.device, summary.dtype, summary.impl, "layers", "", None, "", "", "", "", None
    )
    for row in summary.results:
        here = replace(blank, layout=row.name, tokens=row.tokens, impl=row.impl or summary.impl)
        for one in (_times(row), _shares(row), _flops(row), _gains(row), _quality(row), _memory(row)):
            yield from (replace(here, **changes) for changes in one)
    for layout in summary.layouts:
        yield from (replace(blank, layout=layout.name, **changes) for changes in _crossing(summary, layout, crossovers))
    for record in summary.failures:
        yield replace(blank, layout=record.layout, tokens=record.tokens, part=record.kind, quantity="status",
                      kind="failed", note=f"{record.status}: {record.error}")  # fmt: skip


Changes = Iterator[dict[str, Any]]


def _times(row: LayoutResult) -> Changes:
    for part in ("whole", "linear", "attention"):
        ms: Spread | None = getattr(row, f"{part}_ms")
        if ms:
            yield {"part": part, "quantity": "time", "kind": "measured", "unit": "ms", "value": ms.median,
                   "low": ms.low, "high": ms.high}  # fmt: skip


def _shares(row: LayoutResult) -> Changes:
    for kind, share, of in (("measured", row.share_measured, "time"), ("counted", row.share_predicted, "useful FLOPs")):
        if share is not None:
            yield {"part": "attention", "quantity": f"share of {of}", "kind": kind, "unit": "1", "value": share}


def _flops(row: LayoutResult) -> Changes:
    for count in ("useful", "executed"):
        flops: PartFlops | None = getattr(row, count)
        for part in ("attention", "linear", "head", "whole") if flops else ():
            yield {"part": part, "quantity": f"{count} FLOPs", "kind": "counted", "unit": "FLOP",
                   "value": getattr(flops, part)}  # fmt: skip


def _gains(row: LayoutResult) -> Changes:
    if row.layout.is_full:
        return
    names = {"speed_up": "speed-up", "useful_reduction": "reduction of useful FLOPs",
             "executed_reduction": "reduction of executed FLOPs", "realisation": "realisation"}  # fmt: skip
    for part in ("whole", "attention"):
        gain: Gain = getattr(row, f"{part}_gain")
        for field, quantity in names.items():
            value = getattr(gain, field)
            if value is not None:
                kind = "counted" if field.endswith("reduction") else "measured"
                yield {"part": part, "quantity": quantity, "kind": kind, "unit": "1", "value": value}


def _quality(row: LayoutResult) -> Changes:
    if not row.quality:
        return
    given = {"kind": "measured", "note": f"text: {row.text}"}
    whole = {"perplexity": ("perplexity", "1"), "kl_nats": ("KL from full attention", "nat/token"),
             "top1_agreement": ("same top token", "1")}  # fmt: skip
    for field, (quantity, unit) in whole.items():
        yield {**given, "part": "text", "quantity": quantity, "unit": unit, "value": getattr(row.quality, field)}
    for bucket in row.quality.by_position:
        part = f"positions {bucket.first} to {bucket.last}"
        for field in ("perplexity", "kl_nats"):
            yield {
                **given,
                "part": part,
                "quantity": whole[field][0],
                "unit": whole[field][1],
                "value": getattr(bucket, field),
            }


def _memory(row: LayoutResult) -> Changes:
    names = {"planned_bytes": "planned memory", "rss_peak_bytes": "peak resident memory"}
    for field, quantity in names.items() if row.memory else ():
        value = getattr(row.memory, field)
        if value is not None:
            yield {"part": "whole", "quantity": quantity, "kind": "measured", "unit": "B", "value": value}


def _crossing(summary: Summary, layout: NamedLayout, crossovers: Crossovers) -> Changes:
    fit, analytic = (found[layout.name] for found in crossovers)
    model = summary.under(layout)
    limit = f"the share tends to {limiting_share(model)}" if analytic is None else ""
    yield {
        "part": "attention",
        "quantity": "crossover",
        "kind": "counted",
        "unit": "token",
        "value": analytic,
        "note": limit,
    }
    note = fit.reason or ("extrapolated" if fit.extrapolated else "")
    yield {"part": "attention", "quantity": "crossover", "kind": "fitted", "unit": "token", "value": fit.tokens,
           "low": fit.low, "high": fit.high, "note": note}  # fmt: skip
    if not layout.is_full:
        yield {"part": "attention", "quantity": "break-even with full attention", "kind": "counted", "unit": "token",
               "value": break_even_tokens(summary.config, model)}  # fmt: skip


def _of_prediction(one: Prefill) -> Iterator[Number]:
    blank = Number(
        FLOOR_MODEL, FLOOR_CARD, "bfloat16", "", "layers", one.layout, one.tokens, "", "time", "", "ms", None
    )
    for component in one.components:
        part = replace(blank, part=component.component, note=component.evidence)
        ms = component.ms
        yield replace(part, kind="predicted", value=ms.middle, low=ms.low, high=ms.high)
        yield replace(part, kind="floor", value=component.floor_ms, note="weights of 4.5 bit")
