"""How people write counts of tokens and the names of dtypes; this module loads no JAX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

LONG_DTYPES: Final[Mapping[Any, str]] = MappingProxyType({"f32": "float32", "f16": "float16", "bf16": "bfloat16"})
SHORT_DTYPES: Final[Mapping[Any, str]] = MappingProxyType({long: short for short, long in LONG_DTYPES.items()})

_COUNT: Final = re.compile(r"([1-9]\d{0,2}(?:,\d{3})+(?![km])|\d+(?:_\d+)*)([km]?)", re.IGNORECASE | re.ASCII)
_UNITS: Final = MappingProxyType({"": 1, "k": 2**10, "m": 2**20})


def count_written(text: str) -> int:
    """The number that a text writes: k stands for 1,024 and m for 1,048,576; an underscore may stand between digits,
    and a comma before each three digits of a number without k or m, for elsewhere it is read as a point.

    Raises `ValueError` for a text that is no such number, which says nothing of what was wanted.

    Examples:
        >>> count_written("8k"), count_written("1M"), count_written("1_000"), count_written("2,048")
        (8192, 1048576, 1000, 2048)
    """
    found = _COUNT.fullmatch(text.strip())
    if not found:
        raise ValueError(text)
    return int(found[1].replace(",", "").replace("_", "")) * _UNITS[found[2].lower()]
