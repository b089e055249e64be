"""Rates that others measured and published, each with its source and with what it says of how it was run."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final, Literal

from attention.regular_file import regular_file
from eval.cost import row_fields as fields
from eval.cost.cards import CARDS, Card, card_of_device
from eval.cost.file_errors import reason
from eval.cost.llama_bench import bench_rows
from eval.cost.published_models import model_of
from eval.cost.published_setup import Setup, bits_of, repeat_error, setup_of, toolbox_options
from refmodel.presets import preset

COLUMNS: Final = (
    "source", "engine", "backend", "device", "model", "quant", "prompt_or_depth", "test", "tokens_per_s", "notes",
)  # fmt: skip
"""Of a table of measured rates."""

DISPATCH_BOUND: Final = 256
"""Prompts below this many tokens measure latency, not work."""

SHORT: Final = 2048
"""Whole prompts of up to this many tokens are short."""

Kind = Literal["short prompt", "at depth", "whole prompt", "decode"]


@dataclass(frozen=True)
class Measured:
    """One published rate: `tokens` tokens, of a prompt or decoded one by one, after `depth` tokens of context.

    Attributes:
        name: the model as published; `model` is its cost model here.
        card: that was measured.
        server: whether a server answered a request, whose fixed cost is in the time.
        repeat_error: published deviation of repeated runs, as a fraction.
    """

    name: str
    model: str
    quant: str
    tokens: int
    depth: int
    tokens_per_s: float
    source: str
    device: str
    card: Card = field(repr=False, compare=False, hash=False)
    setup: Setup
    decode: bool = False
    server: bool = False
    repeat_error: float = 0.0

    @property
    def ms(self) -> float:
        return 1e3 * self.tokens / self.tokens_per_s

    @property
    def kind(self) -> Kind:
        if self.decode:
            return "decode"
        if self.depth:
            return "at depth"
        return "short prompt" if self.tokens <= SHORT else "whole prompt"

    @property
    def family(self) -> str:
        """What errors are summed up over."""
        return f"{self.setup.backend}, {self.kind}"

    @property
    def micro_batch(self) -> int:
        """Tokens of a pass over the weights."""
        return 1 if self.decode else min(self.setup.micro_batch, self.tokens)

    @property
    def bits(self) -> float:
        """Of a stored weight."""
        return bits_of(self.quant, self.name)

    @property
    def has_windows(self) -> bool:
        """Whether some layer attends to less than everything."""
        return {str(variant) for variant in preset(self.model).layout} != {"full"}

    @property
    def series(self) -> tuple[object, ...]:
        """What rows share that differ in length alone."""
        s = self.setup
        micro_batch = None if toolbox_options(self.source) else s.micro_batch  # they change it with the length
        return (self.name, self.quant, self.device, s.stack, s.attention, s.blas, s.build, micro_batch, self.decode)


PUBLISHED_CARD: Final = "r9700"
"""The card that the packaged rows were measured on."""


def published(path: Path | None = None, card: Card | None = None) -> list[Measured]:
    """The rows of the packaged table, of a CSV file with the same columns, or of llama-bench's own output.

    Rows are of prompts and of decode; a byte-order mark before them changes nothing.

    `card` is the card of rows whose device is none of `CARDS`; without it, rows that do not tell are of
    `PUBLISHED_CARD`.  Left out are models that no shape is known for and prompts so short that they measure dispatch.

    Raises `ValueError` in one line that names the file and what is wrong in it.
    """
    if path:
        regular_file(path)
    try:
        text = _decoded((path or resources.files("eval.cost.data") / "r9700_published.csv").read_bytes())
        rows = bench_rows(text, path.name) if path else None
        if rows is None:
            rows = list(csv.DictReader(text.splitlines(), restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"cannot read the published rates {path}: {reason(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if missing := sorted(set(COLUMNS) - (rows[0].keys() if rows else set())):
        raise ValueError(
            f"{path}: column {missing[0]} is missing; wanted: {', '.join(COLUMNS)}, or llama-bench's own output (csv, "
            "json, jsonl, md)"
        )
    try:
        measured = list(_measured(rows, card))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not measured:
        raise ValueError(
            f"{path}: no row with a rate is a prompt (test pp..., whole-prompt) of at least {DISPATCH_BOUND} tokens or "
            "a decode (tg...), its length as in n=512;depth=0, of a model whose shape is known (prefillwall models)"
        )
    return measured


def _decoded(data: bytes) -> str:
    """With what a byte-order mark says; consoles of Windows write UTF-16."""
    return data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")


def _measured(rows: Iterable[dict[str, str]], card: Card | None) -> Iterable[Measured]:
    for found in rows:
        row = {name: fields.text(name, found[name]) for name in COLUMNS}
        length, model, test = _length(row["prompt_or_depth"]), model_of(row["model"]), row["test"]
        decode = test.startswith("tg")
        if length is None or model is None or not row["tokens_per_s"]:
            continue
        if not decode and (not test.startswith(("pp", "whole-prompt")) or length[0] < DISPATCH_BOUND):
            continue
        rate = fields.rate("tokens_per_s", row["tokens_per_s"])
        yield Measured(
            row["model"], model, row["quant"], *length, rate, row["source"], row["device"], _card(row["device"], card),
            _setup(row, length, decode), decode, test.startswith("whole-prompt"), repeat_error(row["notes"], rate),
        )  # fmt: skip


def _card(device: str, default: Card | None) -> Card:
    found = card_of_device(device) or default
    if device and not found:
        raise ValueError(f"no card of the device {device!r} is known; say which with --card, also a TOML file's")
    return found or CARDS[PUBLISHED_CARD]


def _setup(row: dict[str, str], length: tuple[int, int], decode: bool) -> Setup:
    tokens, depth = length
    setup = setup_of(row, depth)
    if not decode and tokens > fields.MOST_PASSES * setup.micro_batch:
        raise ValueError(
            f"a prompt of {tokens:,} tokens in micro-batches of {setup.micro_batch:,} is more than "
            f"{fields.MOST_PASSES:,} passes"
        )
    return setup


def _length(text: str) -> tuple[int, int] | None:
    """(tokens, depth) of "n=2048;depth=16384", "pp2048" or "pp2048@d4096"."""
    found = re.fullmatch(r"(?:n=|pp|tg)([0-9]+)(?:(?:;depth=|@d)([0-9]+))?", text)
    return (fields.whole("a length", found[1], 1), fields.whole("a depth", found[2] or "0")) if found else None
