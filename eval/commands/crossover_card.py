"""The options that a card gives a meaning in `prefillwall crossover`; what they ask for is `crossover_time`'s."""

from __future__ import annotations

import argparse
from typing import Final

from eval.commands import arguments
from eval.commands.storage import add_storage

_USUAL: Final = {"weights": "bf16", "kv": "bf16", "products": "bf16", "attention_dtype": "bf16"}
"""What those options are with a card where nothing is said; without one they mean nothing."""


def add_card_arguments(parser: argparse.ArgumentParser) -> None:
    """The card, how weights and cache are stored there, and in what it multiplies."""
    arguments.add_card(parser)
    add_storage(parser, weights=None, kv=None)
    parser.add_argument(
        "--products", choices=("bf16", "fp8", "int8"),
        help="what both operands of the linear layers' products are, whatever is stored (default: bf16)",
    )  # fmt: skip
    parser.add_argument("--attention-dtype", choices=("bf16", "fp8"), help="the same of attention (default: bf16)")


def asked_of_card(options: argparse.Namespace) -> dict[str, str] | None:
    """What those options ask for, by name; None without a card.

    Raises `ValueError` for one of them that is given without.
    """
    if options.card is not None:
        return {name: getattr(options, name) or usual for name, usual in _USUAL.items()}
    for name in _USUAL:
        if getattr(options, name):
            raise ValueError(f"--{name.replace('_', '-')} is of --card: give that too, or leave it out")
    return None
