"""Arguments and output that the cost commands share: models that need not run, one layout, cards, storage, JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from attention.layout import accepted
from eval.crossover import Linear
from eval.flops.traffic import BITS, Storage
from eval.hardware import CARDS
from eval.preset_shapes import COST_SHAPES, cost_model
from eval.shapes import ModelShape
from refmodel.config import ModelConfig
from refmodel.presets import PRESETS
from refmodel.source import open_config

Model = ModelConfig | ModelShape


def add_model(parser: argparse.ArgumentParser, default: str = "qwen3-30b-a3b") -> None:
    parser.add_argument(
        "--model", default=default, metavar="MODEL",
        help=f"{', '.join((*PRESETS, *COST_SHAPES))}, a folder or a .gguf file (default: %(default)s)",
    )  # fmt: skip


def add_layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout", metavar="LAYOUT",
        help=f"attention per layer, such as '5*swa(1024)+full'; variants: {accepted()} (default: the model's own)",
    )  # fmt: skip


def add_card(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--card", default=default, metavar="CARD", help=f"{', '.join(CARDS)}, or a TOML file (default: %(default)s)"
    )


def add_storage(parser: argparse.ArgumentParser) -> None:
    for name, what in (("--weights", "weights"), ("--kv", "the KV cache")):
        parser.add_argument(name, default="bf16", choices=tuple(BITS), help=f"format of {what} (default: bf16)")


def add_convention(parser: argparse.ArgumentParser, default: Linear = "layers") -> None:
    parser.add_argument(
        "--convention", default=default, metavar="LINEAR",
        help="what counts as linear: layers, layers+head, layers+head+embed, active-headline (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--pairs", default="causal", metavar="PAIRS",
        help="causal (exact), half-square (N²/2) or square (masked pairs too) (default: %(default)s)",
    )  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def model_of(options: argparse.Namespace) -> Model:
    """The named model, or the shape of a checkpoint's, with the layout that was asked for."""
    is_path = Path(options.model).expanduser().exists()
    model = open_config(options.model) if is_path else cost_model(options.model)
    return model.with_layout(options.layout) if getattr(options, "layout", None) else model


def storage_of(options: argparse.Namespace) -> Storage:
    return Storage(options.weights, options.kv)


def print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record, ensure_ascii=False, allow_nan=False))


def table(title: str, *columns: str, left: int = 1) -> Table:
    """A table whose first `left` columns hold words and the others figures."""
    made = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        made.add_column(column, justify="left" if place < left else "right", no_wrap=place < left, overflow="fold")
    return made


def console() -> Console:
    """Wide enough for whole figures when the output goes to a file."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=180)
