"""Words of others in messages of ours: names out of files, errors of libraries, each on one line and not endless."""

from __future__ import annotations

import reprlib
from typing import Any

from attention.cut import cut


def shown(text: str) -> str:
    """A text, cut where it is long, and as `repr` writes it where it would not stand on a line.

    Examples:
        >>> shown("model.norm.weight"), shown("a\\nb"), len(shown("x" * 5_000))
        ('model.norm.weight', "'a\\\\nb'", 203)
    """
    found = cut(text)
    return found if found and found.isprintable() else repr(found)


def quoted(text: str) -> str:
    """A text as `repr` writes it, cut where it is long."""
    return repr(cut(text))


def reason(error: BaseException) -> str:
    """What an error says, on one line."""
    return shown(" ".join(str(error).split()) or type(error).__name__)


def brief(value: Any) -> str:
    """Any value of a file, as `repr` writes it, cut where it is long.

    Examples:
        >>> brief("x" * 5_000)[-8:], brief(1 << 20_000), brief([1 << 20_000])
        ("xxxxxxx'", 'a whole number of 20,001 bits', 'numbers too long to print')
    """
    few = reprlib.Repr()
    few.maxstring = few.maxother = few.maxlong = 80
    try:
        return few.repr(value)
    except ValueError:  # more digits than Python spells
        one = isinstance(value, int)
        return f"a whole number of {value.bit_length():,} bits" if one else "numbers too long to print"
