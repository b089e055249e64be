"""Flags for how weights and the cache are held, of commands that run nothing.

This module loads no JAX before a format is named: the formats are those of `eval.cost.flops.formats`.
"""

from __future__ import annotations

import argparse

from eval.cost.flops.bits import BITS

_PACKED = "how weights are held: int4, int8 or fp8 packs them, by groups where one is named, int4(128)"


def add_packed_weights(parser: argparse.ArgumentParser) -> None:
    """A coding that parameters stay packed in."""
    parser.add_argument(
        "--weights", type=coding_name, metavar="FORMAT", help=f"{_PACKED} (default: none, as --dtype says)"
    )


def add_storage(parser: argparse.ArgumentParser, weights: str | None = "bf16", kv: str | None = "bf16") -> None:
    """What bytes are counted of, where nothing is said `weights` and `kv`; bf16 for a command that asks."""
    parser.add_argument(
        "--weights", type=format_name, default=weights, metavar="FORMAT",
        help=f"{_PACKED}; or so many bits of every number: {', '.join(BITS)} (default: {weights or 'bf16'})",
    )  # fmt: skip
    parser.add_argument("--kv", default=kv, choices=tuple(BITS), help="format of the KV cache (default: bf16)")


def coding_name(word: str) -> str:
    """The full name of a coding: `int4` is `int4(32)`."""
    from refmodel.packed.codings import parse_coding

    try:
        return parse_coding(word).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def format_name(word: str) -> str:
    """The full name of a coding, or of a format of every number."""
    from eval.cost.flops.formats import coding_of

    try:
        coding = coding_of(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return coding.name if coding else word
