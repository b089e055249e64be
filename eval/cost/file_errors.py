"""Why a file could not be used, in words that go on after its name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

WANTED: Final[Mapping[type[OSError], str]] = MappingProxyType(
    {
        FileExistsError: "there is a file of this name; a folder is wanted",
        NotADirectoryError: "it, or what it should lie in, is a file; a folder is wanted",
        IsADirectoryError: "it is a folder; a file is wanted",
        FileNotFoundError: "there is none; to be read it has to exist, to be written it needs a place that takes it",
        PermissionError: "the system does not allow it; a path that you may read and write is wanted",
    }
)


def reason(error: Exception) -> str:
    """The system's words without its number and without the file's name; other errors' own."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def refusal(error: OSError) -> str:
    """`x.png: Permission denied: the system does not allow it; ...`: the file, why not, and what would do."""
    wanted = next((words for kind, words in WANTED.items() if isinstance(error, kind)), "")
    return f"{error.filename}: {reason(error)}" + (f": {wanted}" if wanted else "")
