"""`prefillwall cards`: the cards, their figures and where these come from."""

from __future__ import annotations

import argparse
from typing import Any

from eval.commands import cost_arguments as common
from eval.flops.traffic import Storage
from eval.hardware import CARDS, Card, card
from eval.roofline import decode_crossover_tokens, gemm_crossover_columns, longest_fit_tokens


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "cards",
        help="peak rates, bandwidths and memory, with their sources",
        description="The known cards; with --card one of them in full, and what it means for a model.",
    )
    common.add_card(parser)
    common.add_model(parser)
    common.add_layout(parser)
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.card:
        return _one(card(options.card), options)
    record = {"command": "cards", "cards": [_figures(one) for one in CARDS.values()]}
    if options.json:
        common.print_json(record)
        return 0
    rows = common.table(
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
    common.console().print(rows)
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
    model = common.model_of(options)
    bounds = [
        _bounds(one, model, Storage(weights, kv))
        for weights, kv in (
            ("bf16", "bf16"),
            ("8bit", "bf16"),
            ("4.5bit", "bf16"),
            ("4.5bit", "8bit"),
            ("4.5bit", "4bit"),
        )
    ]
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
        common.print_json(record)
        return 0
    out = common.console()
    rows = common.table(one.title, "figure", "value", "source", left=1)
    rows.columns[2].justify = "left"
    for prefix, figures in (("peak FLOP/s ", one.peak), ("", one.figures), ("measured ", one.measured)):
        for name, figure in figures.items():
            rows.add_row(prefix + name, f"{figure.value:,.0f}", figure.source)
    out.print(rows)
    rows = common.table(
        f"{model.name} on it",
        "weights",
        "cache",
        "GEMM columns to leave the memory bound",
        "decode: cache overtakes weights at",
        "longest context that fits",
        left=2,
    )
    for bound in bounds:
        figures = (bound["gemm_crossover_columns"], bound["decode_crossover_tokens"], bound["longest_fit_tokens"])
        rows.add_row(bound["weights"], bound["kv"], *("any" if x is None else f"{x:,}" for x in figures))
    out.print(rows)
    return 0


def _bounds(one: Card, model: common.Model, storage: Storage) -> dict[str, Any]:
    return {
        "weights": storage.weights,
        "kv": storage.kv,
        "gemm_crossover_columns": gemm_crossover_columns(one, storage.weights),
        "decode_crossover_tokens": decode_crossover_tokens(model, storage),
        "longest_fit_tokens": longest_fit_tokens(model, one, storage) if "memory_bytes" in one.figures else None,
    }
