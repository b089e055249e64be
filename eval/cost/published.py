"""Prefill rates that others measured and published, each with its source."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Final

from eval.cost.file_errors import reason
from eval.cost.flops.closed_form import linear_flops, steps_flops
from refmodel.presets import preset
from refmodel.schedule import Step

SHAPE_OF_PUBLISHED: Final = MappingProxyType(
    {
        "Qwen3-Coder-30B-A3B-Instruct": "qwen3-30b-a3b",
        "Qwen3-Next-80B-A3B-Instruct": "qwen3-next-80b-a3b",
        "Qwen3.5-35B-A3B": "qwen3.5-35b-a3b",
        "Qwen3.8-35B-A3B (hybrid GDN + full attn MoE)": "qwen3.5-35b-a3b",
        "Qwen3-8B": "qwen3-8b",
        "Qwen3-32B": "qwen3-32b",
        "Llama 8B": "llama3-8b",
        "Llama-3.1-8B-Instruct": "llama3-8b",
        "llama-2-7b": "llama2-7b",
        "gemma-3-4b-it": "gemma3-4b",
        "gemma-3-12b-it": "gemma3-12b",
        "gemma-3-27b-it": "gemma3-27b",
        "Gemma-4-26B-A4B": "gemma4-26b-a4b",
        "gpt-oss-20b": "gpt-oss-20b",
        "gpt-oss-20b-F32": "gpt-oss-20b",
    }
)
"""The cost shape of a published model name; others are not compared."""

COLUMNS: Final = (
    "source", "engine", "backend", "device", "model", "quant", "prompt_or_depth", "test", "tokens_per_s", "notes",
)  # fmt: skip
"""Of a table of measured rates."""

_DISPATCH_BOUND: Final = 256
"""Prompts below this many tokens measure latency, not work."""


@dataclass(frozen=True)
class Measured:
    """One published rate: `tokens` prompt tokens after `depth` tokens of context.

    `setup` is all that must be equal for two rows to be comparable: source, backend, device, build.
    """

    setup: str
    family: str
    model: str
    quant: str
    tokens: int
    depth: int
    tokens_per_s: float
    source: str

    @property
    def ms(self) -> float:
        return 1e3 * self.tokens / self.tokens_per_s

    @property
    def work(self) -> tuple[int, int]:
        """Useful linear and attention FLOPs."""
        flops = steps_flops(preset(SHAPE_OF_PUBLISHED[self.model]), (Step(self.tokens, self.depth),))
        return linear_flops(flops), flops.get("attention", 0)

    @property
    def has_windows(self) -> bool:
        return self.layout != "full"

    @property
    def layout(self) -> str:
        shape = preset(SHAPE_OF_PUBLISHED[self.model])
        return "full" if {str(variant) for variant in shape.layout} == {"full"} else "windows"


PUBLISHED_CARD: Final = "r9700"
"""The card that the packaged rows were measured on."""


def published(path: Path | None = None) -> list[Measured]:
    """The rows of the packaged table, or of a CSV file with the same columns, that a shape is known for.

    Rows of prompts so short that they measure dispatch are left out; so are decode rows.
    """
    try:
        text = (path or resources.files("eval.cost.data") / "r9700_published.csv").read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines(), restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read the published rates {path}: {reason(error)}") from error
    if missing := sorted(set(COLUMNS) - (rows[0].keys() if rows else set())):
        raise ValueError(f"{path}: column {missing[0]} is missing; wanted: {', '.join(COLUMNS)}")
    try:
        measured = list(_measured(rows))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not measured:
        raise ValueError(f"{path}: no row is a prompt of a known model; known: {', '.join(SHAPE_OF_PUBLISHED)}")
    return measured


def _measured(rows: Iterable[dict[str, str]]) -> Iterable[Measured]:
    for row in rows:
        length = _length(row["prompt_or_depth"])
        if length is None or row["model"] not in SHAPE_OF_PUBLISHED or not row["tokens_per_s"]:
            continue
        if not row["test"].startswith(("pp", "whole-prompt")) or length[0] < _DISPATCH_BOUND:
            continue
        setup, family = _setup(row)
        yield Measured(setup, family, row["model"], row["quant"], *length, _rate(row["tokens_per_s"]), row["source"])


def _rate(text: str) -> float:
    """Tokens per second."""
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ValueError(f"tokens_per_s must be a number above 0, got {text!r}")
    return rate


def _length(text: str) -> tuple[int, int] | None:
    """(tokens, depth) of "n=2048;depth=16384", "pp2048" or "pp2048@d4096"."""
    found = re.fullmatch(r"(?:n=|pp)(\d+)(?:(?:;depth=|@d)(\d+))?", text)
    return (int(found[1]), int(found[2] or 0)) if found else None


def _setup(row: dict[str, str]) -> tuple[str, str]:
    """What must be equal, and the family of backends it belongs to.

    Log files are named model__build__...__longctxN__...: the build is in the name, the length is not part of it.
    """
    place, _, file = row["source"].rpartition("/")
    build = re.sub(r"__longctx\d+|\.log$", "", file.partition("__")[2])
    cards = "2 cards" if row["device"].startswith("2x") else row["device"]
    detail = build or f"{file} {row['notes'].partition(';')[0]}"
    family = (
        build.partition("__")[0].split("-")[0] if row["backend"] == "Vulkan" and build else row["backend"].split(" ")[0]
    )
    return f"{place.partition(':')[0]} {row['backend']} {cards} {detail}", f"{family}, {cards.partition(' gfx')[0]}"
