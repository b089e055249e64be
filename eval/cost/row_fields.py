"""One field of a row of rates that others wrote, as JSON or as text: of what kind it is, and within what bounds."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from refmodel.words import brief

MOST_TOKENS: Final = 2**22
"""Of a prompt, a context or a micro-batch."""

MOST_PASSES: Final = 2**13
"""Micro-batches of a prompt: each is counted by itself."""

LEAST_RATE: Final = 1e-6
MOST_RATE: Final = 1e12
"""Tokens per second."""

MOST_CHARACTERS: Final = 1000
"""Of a name or a remark."""


def whole(name: str, value: Any, least: int = 0, most: int = MOST_TOKENS) -> int:
    """A whole number.  Raises `ValueError` that names the field and what is wanted there."""
    found = -1
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value.strip()):
        found = int(value)
    if not least <= found <= most:
        raise ValueError(f"{name} must be a whole number from {least:,} to {most:,}, got {brief(value)}")
    return found


def number(name: str, value: Any, least: float, most: float) -> float:
    """A number.  Raises `ValueError` that names the field and what is wanted there."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not least <= found <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, got {brief(value)}")
    return found


def rate(name: str, value: Any) -> float:
    """Tokens per second."""
    return number(name, value, LEAST_RATE, MOST_RATE)


def text(name: str, value: Any) -> str:
    """Text of one line; nothing for None.  Raises `ValueError` that names the field and what is wanted there."""
    found = "" if value is None else value
    if not isinstance(found, str) or not found.isprintable() or len(found) > MOST_CHARACTERS:
        raise ValueError(f"{name} must be a line of at most {MOST_CHARACTERS:,} characters, got {brief(value)}")
    return found
