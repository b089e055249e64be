"""`prefillwall cards`: the cards, their figures and where these come from."""

from __future__ import annotations

import argparse
from typing import Any

from eval.commands import arguments, output
from eval.cost.cards import CARDS, Card, card

DESCRIPTION = "The known cards; with --card one of them in full, and what it means for a model."

EXAMPLES = (
    "prefillwall cards",
    "prefillwall cards --card r9700",
    "prefillwall cards --card h100-sxm --model qwen3-32b --layout '7*swa(1024)+full' --json",
)

STORED = (("bf16", "bf16"), ("8bit", "bf16"), ("4.5bit", "bf16"), ("4.5bit", "8bit"), ("4.5bit", "4bit"))
"""Formats of weights and cache that a card is judged by."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_card(parser)
    arguments.add_model(parser, "qwen3-30b-a3b", runs=False)
    arguments.add_layout(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    if options.card is not None:
        return _one(card(options.card), options)
    record = {
        "command": "cards",
        "conventions": {"peak_flops_per_s": "dense, no structured sparsity; 16-bit types accumulate in float32"},
        "cards": [_figures(one) for one in CARDS.values()],
    }
    if options.json:
        output.print_json(record)
        return 0
    rows = output.table(
        "cards: dense bf16 peak", "card", "title", "TFLOPS", "GB/s", "GiB", "L2 MiB", "last level MiB", left=2
    )
    for one in CARDS.values():
        cells = (
            f"{_scaled(one, name, unit)}"
            for name, unit in (
                ("bandwidth_bytes_per_s", 1e9),
                ("memory_bytes", 2**30),
                ("l2_bytes", 2**20),
                ("last_level_bytes", 2**20),
            )
        )
        rows.add_row(one.name, one.title, f"{one.peak_flops_per_s() / 1e12:,.1f}", *cells)
    output.console().print(rows)
    return 0


def _scaled(one: Card, name: str, unit: float) -> str:
    return f"{one.figures[name].value / unit:,.4g}" if name in one.figures else "-"


def _figures(one: Card) -> dict[str, Any]:
    tables = {"peak_flops_per_s": one.peak, "figures": one.figures, "measured": one.measured}
    return {"card": one.name, "title": one.title} | {
        table: {name: {"value": figure.value, "source": figure.source} for name, figure in figures.items()}
        for table, figures in tables.items()
    }


def _one(one: Card, options: argparse.Namespace) -> int:
    from eval.commands.resolve import shape_named  # the list alone needs no JAX

    model = shape_named(options.model, options.layout)
    bounds = [_bounds(one, model, *formats) for formats in STORED]
    record = {
        "command": "cards",
        **_figures(one),
        "model": model.name,
        "bounds": bounds,
        "conventions": {
            "columns": "peak x bytes per weight / (2 x bandwidth)",
            "fit": "weights and cache, no temporaries",
            "decode": "cache bytes exceed weight bytes of one step, head included",
        },
    }
    if options.json:
        output.print_json(record)
        return 0
    out = output.console()
    rows = output.table(one.title, "figure", "value", "source", left=1)
    rows.columns[2].justify = "left"
    for prefix, figures in (("peak FLOP/s ", one.peak), ("", one.figures), ("measured ", one.measured)):
        for name, figure in figures.items():
            rows.add_row(prefix + name, f"{figure.value:,.0f}", figure.source)
    out.print(rows)
    rows = output.table(
        f"{model.name} on it",
        "weights",
        "cache",
        "GEMM columns to leave the memory bound",
        "decode: cache overtakes weights at",
        "longest context that fits",
        left=2,
    )
    for bound in bounds:
        found = bound["gemm_crossover_columns"], bound["decode_crossover_tokens"]
        limits = ("any" if x is None else f"{x:,}" for x in found)
        rows.add_row(bound["weights"], bound["kv"], *limits, output.longest_fit(bound["longest_fit_tokens"]))
    out.print(rows)
    return 0


def _bounds(one: Card, model: Any, weights: str, kv: str) -> dict[str, Any]:
    from eval.cost.flops.formats import Storage
    from eval.cost.roofline import decode_crossover_tokens, gemm_crossover_columns, longest_fit_tokens

    storage = Storage(weights, kv)
    return {
        "weights": weights,
        "kv": kv,
        "gemm_crossover_columns": gemm_crossover_columns(one, weights),
        "decode_crossover_tokens": decode_crossover_tokens(model, storage),
        "longest_fit_tokens": longest_fit_tokens(model, one, storage) if "memory_bytes" in one.figures else None,
    }
