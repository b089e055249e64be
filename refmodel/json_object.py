"""Files of text, and those of JSON that hold one object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from attention.regular_file import regular_file
from refmodel.words import reason

_MOST_BYTES: Final = 2**20
_OF_MANY_ENTRIES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "tokenizer.json": 40_000_000, "vocab.json": 40_000_000, "merges.txt": 40_000_000,
        "model.safetensors.index.json": 2**24, "tokenizer_config.json": 2**23, "added_tokens.json": 2**23,
    }
)  # fmt: skip
"""Of a file of text, by its name: what JSON becomes takes up to thirty times its own size."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one where there is no file.  Raises `ValueError` for another content."""
    return read_object(path) if path.exists() else {}


def read_object(path: Path) -> dict[str, Any]:
    """The object in a file.  Raises `ValueError` for a missing file and for another content."""
    text = read_text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({reason(error)})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: an object is wanted, got {type(found).__name__}")
    return found


def read_text(path: Path) -> str:
    """The text of a file.  Raises `ValueError` for a missing file and for what is no file of text."""
    regular_file(path)
    try:
        if path.stat().st_size > (most := _OF_MANY_ENTRIES.get(path.name, _MOST_BYTES)):
            raise ValueError(f"it is longer than {most:,} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable as text ({reason(error)})") from error
