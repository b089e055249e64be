"""`prefillwall validate --records`: kept records, predicted from one another and for another model."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from eval.commands import output
from eval.cost.cards import card_of_device
from eval.cost.family_errors import GOOD_FIT, proportion_within
from eval.measure.left_out_records import SCHEMES, LeftOut, left_out, of_another_model, prefills
from eval.measure.records import file
from eval.measure.records.identity import refuse_mixed
from refmodel.presets import preset

UNTESTED = "no record tests it: how far another model's efficiencies differ is assumed"


def run_records(options: argparse.Namespace) -> int:
    """Tables of left-out records, and with --model the times of a model without any."""
    path, records = file.read_comparison(options.records)
    if not options.mixed:
        refuse_mixed(file.latest(records), str(path))
    config = file.config_of(records, path)
    rows = prefills(records, config)
    if len(rows) < 2:
        raise ValueError(f"{path}: {len(rows)} whole prefills were measured; two at least are needed")
    made = left_out(rows)
    summary = [_summary(scheme, [one for one in made if one.scheme == scheme]) for scheme in SCHEMES]
    summary = [one for one in summary if one["rows"]]
    other: list[LeftOut] = []
    card = card_of_device(records[0].run.environment.device_kind)
    if options.model and card:
        lengths = sorted({row.tokens for row in rows})
        other = of_another_model(rows, preset(options.model), "full", lengths, card)
    if options.json:
        output.print_json(
            {
                "command": "validate", "records": str(path), "model": config.name, "summary": summary,
                "predictions": [_figures(one) for one in made],
                "another_model": [_figures(one) for one in other], "of_another_model": UNTESTED,
            }
        )  # fmt: skip
        return 0
    out = output.console()
    table = output.table(
        f"whole prefills of {config.name}, predicted without some", "left out", "rows", "error\nmedian",
        "error\nlargest", "intervals\nthat cover", "verdict",
    )  # fmt: skip
    for one in summary:
        table.add_row(
            one["left_out"], str(one["rows"]), f"{one['median_error']:.1%}", f"{one['largest_error']:.1%}",
            output.proportion(one["coverage"], one["coverage_within"]), "fits" if one["fits"] else "does not fit",
        )  # fmt: skip
    out.print(table)
    if other:
        _print_other(out, other)
    if options.all:
        _print_rows(out, made)
    out.print(f"[dim]fits: median error below {GOOD_FIT:.0%}; of another model: {UNTESTED}[/dim]", highlight=False)
    return 0


def _summary(scheme: str, made: Sequence[LeftOut]) -> dict[str, Any]:
    errors = [abs(one.error) for one in made]
    median = statistics.median(errors) if errors else 0.0
    covered = sum(one.low <= one.prefill.ms <= one.high for one in made)
    return {
        "left_out": scheme,
        "rows": len(made),
        "median_error": median,
        "largest_error": max(errors, default=0.0),
        "coverage": covered / len(made) if made else 0.0,
        "coverage_within": proportion_within(covered, len(made)) if made else (0.0, 1.0),
        "fits": median < GOOD_FIT,
    }


def _figures(one: LeftOut) -> dict[str, Any]:
    measured = one.prefill.ms if one.scheme in SCHEMES else None
    return {
        "left_out": one.scheme, "model": one.prefill.model, "layout": one.prefill.layout, "tokens": one.prefill.tokens,
        "measured_ms": measured, "predicted_ms": one.ms, "low_ms": one.low, "high_ms": one.high,
        "known": one.known,
    }  # fmt: skip


def _print_other(out: Any, other: Sequence[LeftOut]) -> None:
    table = output.table(
        f"{other[0].prefill.model}, full attention, predicted from them", "tokens", "from", "predicted", "to"
    )
    for one in other:
        low, ms, high = (f"{ms:,.1f} ms" for ms in (one.low, one.ms, one.high))
        table.add_row(f"{one.prefill.tokens:,}", low, ms if one.known else "I don't know", high)
    out.print(table)


def _print_rows(out: Any, made: Sequence[LeftOut]) -> None:
    table = output.table(
        "measured and predicted", "left out", "layout", "tokens", "measured", "predicted", "from", "to", "error", left=2
    )
    for one in made:
        times = (one.prefill.ms, one.ms, one.low, one.high)
        table.add_row(
            one.scheme, one.prefill.layout, f"{one.prefill.tokens:,}", *(f"{ms:,.1f} ms" for ms in times),
            f"{one.error:+.1%}",
        )  # fmt: skip
    out.print(table)
