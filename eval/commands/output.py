"""What commands print: one JSON object, or tables for people; nothing that moves unless a person watches."""

from __future__ import annotations

import json
import sys
from typing import Any

import rich.console
from rich.table import Table


class Console(rich.console.Console):
    """One that leaves a broken pipe to the command line, where rich would end the process with status 1, and text as it
    is: `:100:` is no picture."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(emoji=False, **settings)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def print(self, *objects: Any, **how: Any) -> None:
        """Also tables that are wider than the terminal, which breaks their lines: no figure is folded or left out."""
        room = self.options.update(width=1000)
        tables = [one for one in objects if isinstance(one, Table)]
        too_wide = [one for one in tables if self.measure(one, options=room).maximum > self.width]
        for column in (column for one in too_wide for column in one.columns if column.justify == "right"):
            words = str(column.header).split()
            column.width = max(self.measure(one).maximum for one in (*words, *column.cells))
        least = max((self.measure(one, options=room).minimum for one in too_wide), default=0)
        if least > self.width:
            Console(file=self.file, width=least).print(*objects, **how)
        else:
            super().print(*objects, **how)


def print_json(record: dict[str, Any]) -> None:
    """The record on one line of stdout; it names its command and its conventions."""
    print(json.dumps(record, ensure_ascii=False, allow_nan=False))


def table(title: str, *columns: str, left: int = 1) -> Table:
    """A table whose first `left` columns hold words, folded where room is short, and the others figures."""
    made = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        words = place < left
        least = 8 if words else None  # so that a name is folded, and not one letter below the other
        made.add_column(column, justify="left" if words else "right", min_width=least, overflow="fold")
    return made


def console(*, stderr: bool = False) -> Console:
    """Wide enough for whole figures when the output goes to a file."""
    plain = Console(stderr=stderr)
    return plain if plain.is_terminal else Console(stderr=stderr, width=180)


def is_watched() -> bool:
    """Whether a person looks on: bars and spinners are drawn on stderr, and only then."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def longest_fit(tokens: int | str | None) -> str:
    """The longest context beside the weights, from `longest_fit_tokens`; a word where the memory is not told."""
    if isinstance(tokens, str):
        return tokens
    return "any" if tokens is None else f"{tokens:,}" if tokens else "too large"


def percent(share: float | None) -> str:
    """ "4.2%", or "-" where nothing is known."""
    return "-" if share is None else f"{share:.1%}"


def proportion(share: float, within: tuple[float, float]) -> str:
    """A share and its interval: "75% (30-95)"."""
    return f"{share:.0%} ({100 * within[0]:.0f}-{100 * within[1]:.0f})"
