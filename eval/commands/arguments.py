"""Arguments that several commands share, so that a model, a layout or a length is written one way everywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

import jax.numpy as jnp

from attention.layout import accepted, format_layout, parse_layout
from refmodel.config import ModelConfig
from refmodel.presets import PRESETS
from refmodel.source import DEFAULT_MODEL

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def add_model(parser: argparse.ArgumentParser, default: str = DEFAULT_MODEL) -> None:
    parser.add_argument(
        "--model", default=default, metavar="MODEL",
        help=f"a preset ({', '.join(PRESETS)}), a folder, a .gguf file or a Hub id (default: %(default)s)",
    )  # fmt: skip


def add_layouts(parser: argparse.ArgumentParser, default: tuple[str, ...]) -> None:
    parser.add_argument(
        "--layouts", nargs="+", metavar="LAYOUT",
        help=f"attention per layer, such as '5*swa(1024)+full'; variants: {accepted()} (default: {' '.join(default)})",
    )  # fmt: skip


def add_tokens(parser: argparse.ArgumentParser, default: tuple[int, ...]) -> None:
    parser.add_argument(
        "--tokens", nargs="+", type=positive, default=list(default), metavar="N",
        help=f"prompt lengths (default: {' '.join(map(str, default))})",
    )  # fmt: skip


def add_dtype(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32", help="default: %(default)s")


def add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=seed, default=0, help="of random weights and of sampling (default: 0)")


def positive(word: str) -> int:
    """A count of at least 1; underscores and commas may group its digits."""
    try:
        value = int(word.replace(",", ""))
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 is wanted, got {word!r}")
    return value


def seed(word: str) -> int:
    """A seed that fits 32 bits."""
    if not word.isdecimal() or int(word) >= 2**32:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to 2**32 - 1 is wanted, got {word!r}")
    return int(word)


def text_length(word: str) -> int:
    """0 for none, or at least the 2 tokens that one prediction takes."""
    if not word.isdecimal() or int(word) == 1:
        raise argparse.ArgumentTypeError(f"0 (no quality) or at least 2 tokens are wanted, got {word!r}")
    return int(word)


def read_text(path: str) -> str:
    """The text of a UTF-8 file."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the text {path!r} as UTF-8: {error}") from error


def canonical_layouts(config: ModelConfig, layouts: list[str]) -> tuple[str, ...]:
    """The layouts in their shortest spelling, `full` first: what the others are compared with."""
    shortest = [format_layout(parse_layout(layout, config.n_layers)) for layout in layouts]
    return tuple(dict.fromkeys(["full", *shortest]))
