"""`prefillwall predict`: what a card would do with prompts that nobody published, from what others published."""

from __future__ import annotations

import argparse
from typing import Any

from eval.commands import arguments, output
from eval.commands.resolve import shape_named
from eval.cost.efficiency.interval import COVERAGE
from eval.cost.predicted_rates import predicted_rates
from eval.cost.published import PUBLISHED_CARD, published
from eval.cost.validation import Prediction

DESCRIPTION = (
    "Rates of prefill on a Radeon AI PRO R9700, at any length: predicted from those that others published of the\n"
    "model, for each backend and file.  Nothing runs; `prefillwall validate` says how well left-out rows are predicted."
)

EXAMPLES = (
    "prefillwall predict",
    "prefillwall predict --model ministral-3-8b --tokens 16k 64k",
    "prefillwall predict --tokens 2048 --depth 32k --json    # a chunk behind a long context",
)

LENGTHS = (8192, 32_768, 65_536)

CONVENTIONS = {
    "rate": "tokens of the prompt over its time, under the model's own layout",
    "setup": "of several builds the one that was fastest on the longest published prompt",
    "interval": f"{COVERAGE:.0%}, calibrated on published rows that were left out",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, "qwen3-30b-a3b", runs=False)
    arguments.add_tokens(parser, LENGTHS)
    parser.add_argument(
        "--depth", type=arguments.from_zero, default=0, metavar="D", help="tokens of context before them (default: 0)"
    )
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    model = shape_named(options.model).name
    predictions = predicted_rates(published(), model, options.tokens, options.depth)
    if options.json:
        output.print_json({
            "command": "predict", "model": model, "card": PUBLISHED_CARD, "conventions": CONVENTIONS,
            "predictions": [_figures(one) for one in predictions],
        })  # fmt: skip
        return 0
    out = output.console()
    behind = f" after {options.depth:,} tokens of context" if options.depth else ""
    table = output.table(
        f"{model} on {PUBLISHED_CARD}, predicted: prompts{behind}", "setup", "file", "tokens", "tokens/s",
        f"{COVERAGE:.0%}", "seconds", "rests on", left=2,
    )  # fmt: skip
    for one in predictions:
        table.add_row(*_cells(one))
    out.print(table)
    for name, words in CONVENTIONS.items():
        out.print(f"[dim]{name}: {words}[/dim]", highlight=False)
    return 0


def _setup(one: Prediction) -> str:
    setup = one.row.setup
    kernel = "" if setup.attention == "plain" else f" {setup.attention}"
    cards = f", {setup.cards} cards" if setup.cards > 1 else ""
    return f"{setup.backend} ({setup.stack}{kernel}), {setup.build}, micro-batch {one.row.micro_batch:,}{cards}"


def _cells(one: Prediction) -> tuple[str, ...]:
    row = one.row
    figures = ("I don't know", "", "")
    if one.known:
        figures = (
            f"{one.tokens_per_s:,.0f}",
            f"{one.low:,.0f} to {one.high:,.0f}",
            f"{row.tokens / one.tokens_per_s:,.1f}",
        )
    return _setup(one), f"{row.name} {row.quant}", f"{row.tokens:,}", *figures, one.basis


def _figures(one: Prediction) -> dict[str, Any]:
    return {
        "file": one.row.name, "quant": one.row.quant, **vars(one.row.setup), "micro_batch": one.row.micro_batch,
        "tokens": one.row.tokens, "depth": one.row.depth, "tokens_per_s": one.tokens_per_s,
        "low_tokens_per_s": one.low, "high_tokens_per_s": one.high, "known": one.known, "rests_on": one.basis,
    }  # fmt: skip
