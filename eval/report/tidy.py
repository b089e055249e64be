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
from eval.report.layout_result import LayoutResult, Spread
from eval.report.metrics import METRICS
from eval.report.on_card import OnCard, PredictedPrefill
from eval.report.run_facts import CONVENTION, Crossovers
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
    batch: int
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


def all_numbers(
    summaries: Sequence[Summary], crossovers: Sequence[Crossovers], on_cards: Iterable[OnCard]
) -> list[Number]:
    """Of everything that the report shows."""
    found = [figure for pair in zip(summaries, crossovers, strict=True) for figure in _of_summary(*pair)]
    return found + [figure for of in on_cards for one in of.predicted for figure in _of_prediction(of, one)]


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
        summary.config.name,
        summary.device,
        summary.dtype,
        summary.batch,
        summary.impl,
        "layers",
        "",
        None,
        "",
        "",
        "",
        "",
        None,
    )
    for one in summary.results:
        here = replace(blank, layout=one.name, tokens=one.tokens, impl=one.impl or summary.impl)
        yield from (replace(here, **changes) for changes in (*_of_metrics(one), *_by_position(one)))
    for layout in summary.layouts:
        yield from (replace(blank, layout=layout.name, **changes) for changes in _crossing(summary, layout, crossovers))
    for record in summary.failures:
        yield replace(blank, layout=record.layout, tokens=record.tokens, part=record.kind, quantity="status",
                      kind="failed", note=f"{record.status}: {record.error}")  # fmt: skip


Changes = Iterator[dict[str, Any]]


def _of_metrics(one: LayoutResult) -> Changes:
    for metric in METRICS.values():
        value = metric.value(one)
        if value is None or not metric.in_numbers or (metric.against_full and one.layout.is_full):
            continue
        said = {"part": metric.part, "quantity": metric.quantity, "kind": metric.kind, "unit": metric.unit,
                "note": metric.note(one)}  # fmt: skip
        if isinstance(value, Spread):
            yield {**said, "value": value.median, "low": value.low, "high": value.high}
        else:
            yield {**said, "value": value}


def _by_position(one: LayoutResult) -> Changes:
    """The metrics of a text's quality over each stretch of it."""
    for stretch in one.quality.by_position if one.quality else ():
        for field in ("perplexity", "kl_nats"):
            metric = METRICS[field]
            yield {"part": f"positions {stretch.first} to {stretch.last}", "quantity": metric.quantity,
                   "kind": metric.kind, "unit": metric.unit, "value": getattr(stretch, field),
                   "note": metric.note(one)}  # fmt: skip


def _crossing(summary: Summary, layout: NamedLayout, crossovers: Crossovers) -> Changes:
    measured, counted = crossovers
    fit, analytic = measured[layout.name], counted[layout.name]
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


def _of_prediction(of: OnCard, one: PredictedPrefill) -> Iterator[Number]:
    blank = Number(
        of.config.name, of.card.name, "bfloat16", 1, "", "layers", one.layout, one.tokens, "", "time", "", "ms", None
    )
    for component in one.components:
        part = replace(blank, part=component.component, note=component.evidence)
        ms = component.ms
        yield replace(part, kind="predicted", value=ms.middle, low=ms.low, high=ms.high)
        yield replace(part, kind="floor", value=component.floor_ms, note=f"weights in {of.under.storage.weights}")
