"""`prefillwall validate`: the cost model against rates that others published."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from eval.commands import arguments, output
from eval.commands.output import percent
from eval.cost.cards import CARDS, card
from eval.cost.efficiency.groups import SCHEMES
from eval.cost.efficiency.interval import COVERAGE
from eval.cost.family_errors import GOOD_FIT, FamilySummary, summarise
from eval.cost.published import PUBLISHED_CARD, published
from eval.cost.validation import TABLE, Prediction, validate

DESCRIPTION = (
    "Leaves published rows out in turn, predicts them from all others, and says how far off it was: one row at a time, "
    "the long rows of a series or of a model, all rows of a build, of a version of the engine, of a model."
)

EXAMPLES = (
    "prefillwall validate",
    "prefillwall validate --leave-out 'long rows of a model'",
    "prefillwall validate --data mine.csv --leave-out table --all",
    "prefillwall validate --records eval/results/h200-atlas/qwen3-4b eval/results/h100-qwen3-30b-a3b --model qwen3-8b",
)

CONVENTIONS = {
    "prompts": "t = linear / (peak e) + tiles of attention / (peak e) + weights / bandwidth + fixed costs",
    "decode": "t = weights / (bandwidth e) + cache / (bandwidth e) + layers x overhead",
    "peak": "f16",
    "error": "of the rate, relative; where the answer is not known, none",
    "naive": "a parabola t = aN + bN^2 through two other rows of the series",
    "interval": f"{COVERAGE:.0%}, split conformal: calibrated on other left-out rows",
    "cover": "the share of intervals that do, and its interval of 95% (Wilson), as if rows were independent",
    "fits": f"median error below {GOOD_FIT:.0%}",
}

COLUMNS = (
    "family", "rows", "not\nknown", "error\nmedian", "error\n90 %", "intervals\nthat cover", "naive\nrows",
    "naive\nmedian", "beside it\nmedian", "verdict",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="FILE",
        help="rows to predict, CSV or llama-bench's output (default: the packaged ones)",
    )  # fmt: skip
    parser.add_argument(
        "--leave-out", choices=(*SCHEMES, TABLE), metavar="WHAT",
        help=f"only this: {', '.join(SCHEMES)}, or {TABLE}: all rows of --data, predicted from the packaged ones",
    )  # fmt: skip
    parser.add_argument(
        "--alone", action="store_true", help="learn from the rows of --data, not from the packaged ones"
    )
    parser.add_argument(
        "--records", type=Path, nargs="+", metavar="FOLDER",
        help="measured records to predict from one another; of several models: each from the others as well",
    )  # fmt: skip
    arguments.add_mixed(parser)
    parser.add_argument(
        "--model", metavar="NAME", help="with --records: predict this model from them, on the card of the first folder"
    )
    parser.add_argument("--all", action="store_true", help="print every prediction as well")
    parser.add_argument(
        "--card", metavar="CARD",
        help=f"that rows of a device not known here are of: {', '.join(CARDS)}, or a TOML file (default: "
        f"the device that a row names, {PUBLISHED_CARD} where it names none)",
    )  # fmt: skip
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    if options.records is not None:
        from eval.commands.validate_records import run_records  # brings the records' JAX

        return run_records(options)
    if options.model is not None:
        raise ValueError("--model is predicted from --records: give a folder of them")
    if options.mixed:
        raise ValueError("--mixed takes records that do not compare: give a folder of them, --records")
    if options.leave_out == TABLE and (options.data is None or options.alone):
        raise ValueError(f"--leave-out {TABLE} predicts the rows of --data: give a CSV file, and not --alone")
    rows = published(options.data, None if options.card is None else card(options.card))
    packaged = published() if options.data and not options.alone else []
    schemes = (options.leave_out,) if options.leave_out else (*SCHEMES, TABLE)
    predictions = validate(rows, packaged, schemes)
    summary = summarise(predictions)
    if options.json:
        output.print_json(
            {
                "command": "validate",
                "card": PUBLISHED_CARD if options.card is None else card(options.card).name,
                "conventions": CONVENTIONS,
                "summary": [_summary_figures(one) for one in summary],
                "predictions": [_figures(one) for one in predictions],
            }
        )
        return 0
    out = output.console()
    for scheme in dict.fromkeys(one.scheme for one in summary):
        table = output.table(f"left out: {scheme}", *COLUMNS, left=1)
        for one in summary:
            if one.scheme == scheme:
                table.add_row(*_cells(one))
        out.print(table)
    if options.all:
        out.print(_every_row(predictions))
    if not predictions:
        out.print("I don't know: nothing is left to learn from", highlight=False)
    for name in ("naive", "interval", "cover", "fits"):
        out.print(f"[dim]{name}: {CONVENTIONS[name]}[/dim]", highlight=False)
    return 0


def _cells(one: FamilySummary) -> tuple[str, ...]:
    return (
        one.family, f"{one.count:,}", f"{one.unknown:,}", percent(one.median_error), percent(one.p90_error),
        output.proportion(one.coverage, one.coverage_within), f"{one.naive_count:,}", percent(one.naive_median_error),
        percent(one.beside_naive_error), one.verdict,
    )  # fmt: skip


def _every_row(predictions: list[Prediction]) -> Any:
    table = output.table(
        "published and predicted rates, tokens/s", "left out", "setup", "model", "tokens at depth", "published",
        "predicted", "from", "to", "error", "rests on", left=3,
    )  # fmt: skip
    for one in sorted(predictions, key=lambda one: (one.scheme, one.row.family, one.row.name, one.row.source)):
        row, setup = one.row, one.row.setup
        table.add_row(
            one.scheme, f"{setup.stack} {setup.attention} {setup.blas} {setup.build}", f"{row.name} {row.quant}",
            f"{row.tokens:,} at {row.depth:,}" + (" decoded" if row.decode else ""), f"{row.tokens_per_s:,.0f}",
            *((f"{one.tokens_per_s:,.0f}", f"{one.low:,.0f}", f"{one.high:,.0f}", f"{one.error:+.1%}") if one.known
              else ("I don't know", "", "", "")), one.basis,
        )  # fmt: skip
    return table


def _summary_figures(one: FamilySummary) -> dict[str, Any]:
    return dataclasses.asdict(one) | {"fits": one.fits, "verdict": one.verdict}


def _figures(one: Prediction) -> dict[str, Any]:
    return {
        "left_out": one.scheme,
        "family": one.row.family,
        **{name: value for name, value in vars(one.row).items() if name not in ("card", "setup")},
        **vars(one.row.setup),
        "predicted_tokens_per_s": one.tokens_per_s,
        "low_tokens_per_s": one.low,
        "high_tokens_per_s": one.high,
        "known": one.known,
        "error": one.error,
        "naive_error": one.naive_error,
        "efficiency": one.efficiency,
        "rests_on": one.basis,
    }
