"""JSON files that hold one object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from refmodel.words import reason


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one where there is no file.  Raises `ValueError` for another content."""
    if not path.exists():
        return {}
    if not path.is_file():  # a pipe would be waited on for ever
        raise ValueError(f"{path} is no regular file")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({reason(error)})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: an object is wanted, got {type(found).__name__}")
    return found
