"""JSON lines on disk, appended as soon as each exists.

A run that is killed loses at most the line in flight; the next append cuts such a torn line off.  A last line that is
whole and only lacks its end is kept.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from attention.regular_file import regular_file


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Adds one line, on the disk when this returns.

    Raises `ValueError` for a number that JSON does not have and for what is no regular file, `OSError` that names the
    file where it cannot be written.
    """
    text = json.dumps(line, allow_nan=False).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), regular_file(path).open("ab+") as file:
        _cut_torn_line(file)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """What the system says of writing there names `path`: a full disk is told of an open file, which has no name."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def read(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """All complete lines with their numbers; nothing of a file that is not there.

    Raises `ValueError` that names the file, the line and what was wrong.
    """
    if not path.exists():
        return []
    *lines, last = regular_file(path).read_bytes().split(b"\n")
    if _is_whole(last):  # else empty, or the line that a killed run did not finish
        lines.append(last)
    return [(number, _parse(path, number, line)) for number, line in enumerate(lines, 1) if line.strip()]


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text; records are lines of JSON") from error
    except (ValueError, RecursionError) as error:  # a nesting or a number that is too long is no JSONDecodeError
        said = getattr(error, "msg", str(error))
        raise ValueError(f"{path}:{number} is not a JSON record ({said}); move the file away or mend it") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}:{number} is not a record: a JSON object is wanted")
    return found


def _cut_torn_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    file.seek(0)
    content = file.read()
    keep = content.rfind(b"\n") + 1
    if keep < size and _is_whole(content[keep:]):
        file.write(b"\n")
    elif keep < size:
        file.truncate(keep)
    file.seek(0, os.SEEK_END)


def _is_whole(line: bytes) -> bool:
    """Whether a line is a JSON object: cut short it is none."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
