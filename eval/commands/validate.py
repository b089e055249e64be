"""`prefillwall validate`: the cost model against rates that others published."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from eval.commands import arguments, output
from eval.cost.cards import card
from eval.cost.published import published
from eval.cost.validation import GOOD_FIT, Prediction, summarise, validate

DESCRIPTION = "Fits efficiencies on short rows and full-attention models, and predicts all other published rows."

EXAMPLES = ("prefillwall validate", "prefillwall validate --all", "prefillwall validate --card r9700 --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="CSV", help="rows to compare with (default: the packaged ones)")
    parser.add_argument("--all", action="store_true", help="print every row, not one per setup family and model")
    arguments.add_card(parser, "r9700")
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    predictions, unfitted = validate(published(options.data), card(options.card))
    summary = summarise(predictions)
    record: dict[str, Any] = {
        "command": "validate",
        "card": options.card,
        "conventions": {
            "form": "ms = linear / (peak e_linear) + attention / (peak e_attention) [+ fixed]",
            "flops": "useful",
            "peak": "f16",
            "fitted": "e_attention on other full-attention models of the setup; e_linear on the model's shortest row",
        },
        "predictions": [_figures(one) for one in predictions],
        "unfitted": [
            {"setup": one.rows[0].setup, "model": one.rows[0].model, "reason": one.reason} for one in unfitted
        ],
        "summary": [dataclasses.asdict(one) | {"fits": one.fits} for one in summary],
    }
    if options.json:
        output.print_json(record)
        return 0
    out = output.console()
    rows = output.table(
        "published and predicted prefill rates, tokens/s",
        "setup",
        "model",
        "tokens at depth",
        "published",
        "predicted",
        "error",
        "e_lin",
        "e_att",
        left=2,
    )
    for one in sorted(predictions, key=lambda one: (one.row.family, one.row.model, one.row.setup)):
        r = one.row
        rows.add_row(
            r.setup.partition(" ")[2],
            f"{r.model} {r.quant}",
            f"{r.tokens:,} at {r.depth:,}",
            f"{r.tokens_per_s:,.0f}",
            f"{one.tokens_per_s:,.0f}",
            f"{one.error:+.1%}",
            f"{one.used.linear:.3f}",
            f"{one.used.attention:.3f}",
        )
    if options.all:
        out.print(rows)
    else:
        out.print(_by_family(predictions))
        out.print("[dim]one line a family and model; --all prints every row[/dim]")
    for family in summary:
        kind = "models with windows" if family.windows else "full-attention models"
        verdict = "fits" if family.fits else "the two-term form does NOT fit"
        out.print(
            f"{family.family}, {kind}: {verdict}; median error {family.median_error:.1%}, largest "
            f"{family.largest_error:.1%} over {family.count} rows",
            highlight=False,
        )
    for (backend, reason), times in Counter((one.rows[0].family, one.reason) for one in unfitted).items():
        out.print(f"not predicted, {backend} ({times}): {reason}", highlight=False)
    out.print(f"[dim]{record['conventions']['form']}; fits: median error at most {GOOD_FIT:.0%}[/dim]", highlight=False)
    return 0


def _figures(one: Prediction) -> dict[str, Any]:
    return dataclasses.asdict(one.row) | {
        "predicted_tokens_per_s": one.tokens_per_s,
        "error": one.error,
        "basis": one.basis,
        "fixed_ms": one.used.fixed_ms,
        "linear_efficiency": one.used.linear,
        "attention_efficiency": one.used.attention,
    }


def _by_family(predictions: list[Prediction]) -> Any:
    """Per family and model the medians of rates and errors over its builds, and the range of the errors."""
    groups: dict[tuple[str, str, str], list[Prediction]] = {}
    for one in predictions:
        groups.setdefault((one.row.family, one.row.model, f"{one.row.tokens:,} at {one.row.depth:,}"), []).append(one)
    rows = output.table(
        "predicted against published prefill rates",
        "family",
        "model",
        "tokens at depth",
        "rows",
        "published tokens/s\nmedian",
        "predicted tokens/s\nmedian",
        "error\nlowest",
        "error\nmedian",
        "error\nhighest",
        left=3,
    )
    for (family, model, length), group in sorted(groups.items()):
        errors = [one.error for one in group]
        rows.add_row(
            family,
            model,
            length,
            str(len(group)),
            f"{median(one.row.tokens_per_s for one in group):,.0f}",
            f"{median(one.tokens_per_s for one in group):,.0f}",
            f"{min(errors):+.1%}",
            f"{median(errors):+.1%}",
            f"{max(errors):+.1%}",
        )
    return rows
