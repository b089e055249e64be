"""Words of others in messages of ours, which are lines that somebody reads: cut where they are long."""

from __future__ import annotations

from typing import Final

_MOST_OF_A_WORD: Final = 200
_MOST_OF_A_LINE: Final = 1_000


def cut(text: str) -> str:
    """The beginning of a text that is long.

    Examples:
        >>> cut("full"), len(cut("x" * 5_000))
        ('full', 203)
    """
    return text if len(text) <= _MOST_OF_A_WORD else f"{text[:_MOST_OF_A_WORD]}..."


def one_line(said: str) -> str:
    """A message whose middle, where it quotes others, is left out where it is long: its end says what is accepted.

    Examples:
        >>> one_line(f"cannot read {'x' * 5_000}\\u2028; accepted: full")[-18:], len(one_line("x" * 5_000))
        ('x ; accepted: full', 1003)
    """
    line = " ".join(said.splitlines())
    half = _MOST_OF_A_LINE // 2
    return line if len(line) <= _MOST_OF_A_LINE else f"{line[:half]}...{line[-half:]}"
