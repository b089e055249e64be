"""`prefillwall models`: the shapes that can be costed, and which of them run."""

from __future__ import annotations

import argparse
from typing import Any

from eval.commands import arguments, output
from eval.cost.crossover import crossover_tokens
from eval.cost.flops.traffic import kv_bytes_per_token
from refmodel.presets import PRESETS

DESCRIPTION = "The shapes that can be costed, and which of them run."

EXAMPLES = ("prefillwall models", "prefillwall models --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    models: list[dict[str, Any]] = [
        {
            "model": shape.name,
            "layers": len(shape.layers),
            "layout": shape.layout_summary,
            "params": shape.params,
            "linear_flops_per_token": 2 * shape.linear_macs,
            "kv_bytes_per_token": kv_bytes_per_token(shape),
            "crossover_tokens": crossover_tokens(shape),
            "runs": not shape.cannot_run,
            "note": shape.note,
        }
        for shape in PRESETS.values()
    ]
    if options.json:
        conventions = {"linear": "layers", "pairs": "causal", "kv": "bf16"}
        output.print_json({"command": "models", "conventions": conventions, "models": models})
        return 0
    rows = output.table(
        "models (linear: layers; pairs: causal; cache: bf16)",
        "model",
        "layout",
        "parameters",
        "GFLOP per token",
        "cache bytes per token",
        "N*",
        "runs here",
        left=2,
    )
    for one in models:
        n = one["crossover_tokens"]
        rows.add_row(
            one["model"],
            one["layout"],
            f"{one['params']:,}",
            f"{one['linear_flops_per_token'] / 1e9:.3f}",
            f"{one['kv_bytes_per_token']:,}",
            "none" if n is None else f"{n:,}",
            "yes" if one["runs"] else "cost only",
        )
    out = output.console()
    out.print(rows)
    for one in models:
        if one["note"]:
            out.print(f"[dim]{one['model']}: {one['note']}[/dim]", highlight=False)
    return 0
