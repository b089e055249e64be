"""What commands print: one JSON object, or tables for people; nothing that moves unless a person watches."""

from __future__ import annotations

import json
import sys
from typing import Any

import rich.console
from rich.table import Table


class Console(rich.console.Console):
    """One that leaves a broken pipe to the command line; rich would end the process with status 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def print_json(record: dict[str, Any]) -> None:
    """The record on one line of stdout; it names its command and its conventions."""
    print(json.dumps(record, ensure_ascii=False, allow_nan=False))


def table(title: str, *columns: str, left: int = 1) -> Table:
    """A table whose first `left` columns hold words and the others figures."""
    made = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        made.add_column(column, justify="left" if place < left else "right", no_wrap=place < left, overflow="fold")
    return made


def console(*, stderr: bool = False) -> Console:
    """Wide enough for whole figures when the output goes to a file."""
    plain = Console(stderr=stderr)
    return plain if plain.is_terminal else Console(stderr=stderr, width=180)


def is_watched() -> bool:
    """Whether a person looks on: bars and spinners are drawn on stderr, and only then."""
    return sys.stdout.isatty() and sys.stderr.isatty()
