"""`prefillwall validate --records`: kept records, predicted from one another and for another model."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from eval.commands import output
from eval.commands.output import percent
from eval.cost.cards import Card, card_of_device
from eval.cost.family_errors import GOOD_FIT, proportion_within
from eval.measure.left_out_records import SCHEMES, LeftOut, Prefill, left_out, of_another_model, prefills
from eval.measure.records import file
from eval.measure.records.identity import refuse_mixed
from refmodel.presets import preset

UNTESTED = "no record here tests it: give the records of several models, and each is predicted from the others"


def run_records(options: argparse.Namespace) -> int:
    """Tables of left-out records, and with --model the times of a model without any, on the first folder's card."""
    rows: list[Prefill] = []
    devices: list[str] = []
    for folder in options.records:
        path, records = file.read_comparison(folder)
        if not options.mixed:
            refuse_mixed(file.latest(records), str(path))
        rows += prefills(records, file.config_of(records, path))
        devices.append(records[0].run.environment.device_kind)
    if len(rows) < 2:
        told = ", ".join(map(str, options.records))
        raise ValueError(f"{told}: {len(rows)} whole prefills were measured; two at least are needed")
    made = left_out(rows)
    summary = [_summary(scheme, [one for one in made if one.scheme == scheme]) for scheme in SCHEMES]
    summary = [one for one in summary if one["rows"]]
    models = list(dict.fromkeys(row.model for row in rows))
    another = _tested([one for one in made if one.scheme == "model"])
    other: list[LeftOut] = []
    card = card_of_device(devices[0])
    if options.model and card:
        lengths = sorted({row.tokens for row in rows})
        other = of_another_model(rows, preset(options.model), "full", lengths, card)
    if options.json:
        output.print_json(
            {
                "command": "validate", "records": list(map(str, options.records)), "models": models,
                "card": card.name if card else None,
                "summary": summary, "predictions": [_figures(one) for one in made],
                "another_model": [_figures(one) for one in other], "of_another_model": another,
            }
        )  # fmt: skip
        return 0
    out = output.console()
    out.print(_table(f"whole prefills of {', '.join(models)}, predicted without some", summary))
    if other and card:
        _print_other(out, other, card)
    if options.all:
        _print_rows(out, made)
    out.print(f"[dim]fits: median error below {GOOD_FIT:.0%}[/dim]", highlight=False)
    out.print(f"[dim]another model: {another}[/dim]", highlight=False)
    return 0


def _table(title: str, summary: Sequence[dict[str, Any]]) -> Any:
    table = output.table(
        title, "left out", "rows", "not\nknown", "error\nmedian", "error\nlargest", "intervals\nthat cover", "verdict"
    )
    for one in summary:
        table.add_row(
            one["left_out"], str(one["rows"]), str(one["unknown"]), percent(one["median_error"]),
            percent(one["largest_error"]), output.proportion(one["coverage"], one["coverage_within"]), one["verdict"],
        )  # fmt: skip
    return table


def _summary(scheme: str, made: Sequence[LeftOut]) -> dict[str, Any]:
    errors = [abs(one.error) for one in made if one.known]
    median = statistics.median(errors) if errors else None
    covered = sum(one.low <= one.prefill.ms <= one.high for one in made)
    return {
        "left_out": scheme,
        "rows": len(made),
        "unknown": len(made) - len(errors),
        "median_error": median,
        "largest_error": max(errors, default=None),
        "coverage": covered / len(made) if made else 0.0,
        "coverage_within": proportion_within(covered, len(made)) if made else (0.0, 1.0),
        "verdict": "not known" if median is None else "fits" if median < GOOD_FIT else "does not fit",
    }


def _tested(made: Sequence[LeftOut]) -> str:
    """What says how good a prediction of another model is: the models here, each predicted from the others."""
    if not made:
        return UNTESTED
    known = [one for one in made if one.known]
    covered = sum(one.low <= one.prefill.ms <= one.high for one in known)
    verdict = _summary("model", made)["verdict"]
    answered = f"{len(known)} of {len(made)} rows get an answer, {covered} of them within its interval"
    return f"of models left out, {answered}: {verdict}"


def _figures(one: LeftOut) -> dict[str, Any]:
    measured = one.prefill.ms if one.scheme in SCHEMES else None
    return {
        "left_out": one.scheme, "model": one.prefill.model, "layout": one.prefill.layout, "tokens": one.prefill.tokens,
        "measured_ms": measured, "predicted_ms": one.ms, "low_ms": one.low, "high_ms": one.high,
        "known": one.known,
    }  # fmt: skip


def _print_other(out: Any, other: Sequence[LeftOut], card: Card) -> None:
    title = f"{other[0].prefill.model}, full attention, on {card.title}, predicted from them"
    table = output.table(title, "tokens", "from", "predicted", "to")
    for one in other:
        low, ms, high = (f"{ms:,.1f} ms" for ms in (one.low, one.ms, one.high))
        table.add_row(f"{one.prefill.tokens:,}", low, ms if one.known else "I don't know", high)
    out.print(table)


def _print_rows(out: Any, made: Sequence[LeftOut]) -> None:
    table = output.table(
        "measured and predicted", "left out", "model", "layout", "tokens", "measured", "predicted", "from", "to",
        "error", left=3,
    )  # fmt: skip
    for one in made:
        of, times = one.prefill, (one.prefill.ms, one.ms, one.low, one.high)
        table.add_row(
            one.scheme, of.model, of.layout, f"{of.tokens:,}", *(f"{ms:,.1f} ms" for ms in times), f"{one.error:+.1%}"
        )
    out.print(table)
