"""Flags that commands share, so that a model, a layout, a length, a device or an output is written one way everywhere.

This module loads no JAX: what the words name is looked up in `eval.commands.resolve`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from attention.regular_file import regular_file
from attention.shorthand import LONG_DTYPES, SHORT_DTYPES, count_written
from eval.cost.cards import CARDS, Card, card
from eval.cost.file_errors import reason

DTYPES: Final = ("float32", "bfloat16")

PICTURES: Final = (".png", ".svg", ".pdf")


def add_model(parser: argparse.ArgumentParser, default: str, *, runs: bool, several: bool = False) -> None:
    """`runs` where weights are needed; costs need a shape, and more shapes are known.  Of `several` a list."""
    where = "a folder, a GGUF file or a Hub id" + "; several one after the other" * several
    parser.add_argument(
        "--model", default=[default] if several else default, metavar="MODEL", nargs="+" if several else None,
        help=f"a name that `prefillwall models` lists{' as one that runs' * runs}, {where} (default: {default})",
    )  # fmt: skip


def add_layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout", metavar="LAYOUT",
        help="attention per layer, such as '5*swa(1024)+full', or a .json file; `prefillwall variants` lists the "
        "variants (default: the model's own)",
    )  # fmt: skip


def add_layouts(parser: argparse.ArgumentParser, default: Sequence[str], *, also: str = "") -> None:
    parser.add_argument(
        "--layouts", "--layout", nargs="+", metavar="LAYOUT",
        help=f"attention per layer, such as '5*swa(1024)+full', or .json files{also}; `prefillwall variants` lists the "
        f"variants (default: {' '.join(default)})",
    )  # fmt: skip


def add_tokens(parser: argparse.ArgumentParser, default: Sequence[int] | None, words: str = "") -> None:
    """Several lengths; `words` instead of a default that depends on other things."""
    parser.add_argument(
        "--tokens", nargs="+", type=positive, default=default and list(default), metavar="N",
        help=f"prompt lengths, 8k is 8192 (default: {words or ' '.join(map(str, default or ()))})",
    )  # fmt: skip


def add_one_length(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--tokens", type=positive, default=default, metavar="N", help="prompt length, 8k is 8192 (default: %(default)s)"
    )


def add_text(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--text", metavar="FILE", help="UTF-8 text to read, - for standard input (default: Python's own manual)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "gpu"), help="where to run (default: what JAX finds)")


def add_dtype(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--dtype", type=long_dtype, choices=DTYPES, default=default,
        help=f"of weights and activations (default: {default or 'float32, on a GPU bfloat16'})",
    )  # fmt: skip


def add_running_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", metavar="FORMAT",
        help="how weights are held: int4, int8 or fp8 packs them, by groups where one is named, int4(128); kept: as "
        "the files have them (default: expanded to --dtype)",
    )  # fmt: skip


def add_impl(parser: argparse.ArgumentParser, choices: Sequence[str]) -> None:
    parser.add_argument(
        "--impl", choices=tuple(choices), default="auto", help="attention, on every layer (default: %(default)s)"
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=seed, default=0, help="of random weights and of sampling (default: 0)")


def add_samples(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--samples", type=positive, metavar="N",
        help="samples of each program, more where they spread (default: by its duration)",
    )  # fmt: skip


def add_card(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--card",
        default=default,
        metavar="CARD",
        help=f"{', '.join(CARDS)}, or a TOML file (default: {default or 'none'})",
    )


def add_cards(parser: argparse.ArgumentParser) -> None:
    """Several, for what a report would say of other cards."""
    parser.add_argument(
        "--card", nargs="+", default=(), metavar="CARD",
        help=f"also what these layouts would take at the least on {', '.join(CARDS)}, or a TOML file's (default: none)",
    )  # fmt: skip


def floor_cards(names: Sequence[str]) -> tuple[Card, ...]:
    """The cards, each with the figures that a floor takes; a `ValueError` names what is missing."""
    cards = tuple(map(card, names))
    for one in cards:
        one.peak_flops_per_s()
        one.figure("bandwidth_bytes_per_s")
    return cards


def add_mixed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mixed", action="store_true",
        help="take records of several devices, dtypes, weights or commits, which are refused otherwise",
    )  # fmt: skip


def add_figure(parser: argparse.ArgumentParser, default: Path | None, kinds: Sequence[str] = PICTURES) -> None:
    parser.add_argument(
        "--figure", type=partial(picture, kinds=kinds), default=default, metavar="FILE",
        help=f"picture to write, {', '.join(kinds)} (default: {default or 'none'})",
    )  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout instead of tables")


MOST: Final = 2**31 - 2
"""Tokens of the longest prompt: its positions and their number are int32."""


def positive(word: str) -> int:
    """A count of 1 to `MOST`; 8k is 8,192, 1m 1,048,576, and underscores and commas may group digits."""
    return _whole(word, 1)


def from_zero(word: str) -> int:
    """A count of 0 to `MOST`, written alike."""
    return _whole(word, 0)


def _whole(word: str, least: int) -> int:
    try:
        value = count_written(word)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"a whole number of at least {least} is wanted, got {word!r}")
    if value > MOST:
        raise argparse.ArgumentTypeError(f"a whole number of at most {MOST:,} is wanted, got {word!r}")
    return value


def seed(word: str) -> int:
    """A seed that fits 32 bits."""
    if not word.isdecimal() or int(word) >= 2**32:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to 2**32 - 1 is wanted, got {word!r}")
    return int(word)


def text_length(word: str) -> int:
    """0 for none, or at least the 2 tokens that one prediction takes."""
    if (value := from_zero(word)) == 1:
        raise argparse.ArgumentTypeError(f"0 (no quality) or at least 2 tokens are wanted, got {word!r}")
    return value


def predicting(word: str) -> int:
    """At least the 2 tokens that one prediction takes."""
    return _whole(word, 2)


def temperature(word: str) -> float:
    """A finite number of at least 0."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"a number of at least 0 is wanted, got {word!r}")
    return value


def share(word: str) -> float:
    """A number above 0 and of at most 1."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"a number above 0 and of at most 1 is wanted, got {word!r}")
    return value


def long_dtype(word: str) -> str:
    """`bf16` and `bfloat16` are one type."""
    return LONG_DTYPES.get(word, word)


def short_dtype(word: str) -> str:
    """The same the other way, as cards and compilers name types."""
    return SHORT_DTYPES.get(word, word)


def picture(word: str, kinds: Sequence[str]) -> Path:
    """A file whose suffix says what kind of picture it is."""
    path = Path(word)
    if path.suffix not in kinds:
        raise argparse.ArgumentTypeError(f"a file that ends in {', '.join(kinds)} is wanted, got {word!r}")
    try:
        return regular_file(path)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def read_text(path: str) -> str:
    """The text of a UTF-8 file; of standard input for `-`."""
    file = None if path == "-" else regular_file(Path(path))
    try:
        return sys.stdin.buffer.read().decode("utf-8") if file is None else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the text {path!r} as UTF-8: {reason(error)}") from error
