"""The command `prefillwall`."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = ("compare", "flops", "crossover", "post", "validate", "cards", "models", "variants", "generate", "lower")
"""Modules of `eval.commands`, each with `add_parser(subparsers)`; imported only when the command line is read."""

BAD_INPUT = 2
"""Exit status for an error in what the user gave."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; bad input ends in one line on stderr and status 2."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except ValueError as error:
        print(f"prefillwall {arguments.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # `prefillwall ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file that cannot be read or written
        print(f"prefillwall {arguments.command}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted" + "; --resume goes on" * (arguments.command == "compare"), file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="prefillwall",
        description="What an attention variant costs in prefill, and what it is worth.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"eval.commands.{name}").add_parser(subparsers)
    return parser


class _Parser(argparse.ArgumentParser):
    """Errors of one line, with the nearest command where one was misspelt."""

    def error(self, message: str) -> None:
        if "invalid choice" in message and "COMMAND" in message:
            word = message.split("'")[1]
            close = difflib.get_close_matches(word, COMMANDS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            message = f"no command {word!r}{hint}; accepted: {', '.join(COMMANDS)}"
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(BAD_INPUT)


if __name__ == "__main__":
    sys.exit(main())
