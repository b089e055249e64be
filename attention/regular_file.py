"""Paths that somebody names: nothing is opened that would be waited on for ever, or that never ends."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe: save what it gives to a file, and name that"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular_file(path: Path) -> Path:
    """`path`, unless something is there that is no regular file; whoever opens it says so where nothing is.

    Pipes that somebody does write to, such as a shell's `<(...)`, are refused as well: sizes are looked at before
    anything is read, some files are read twice, and a record keeps their names, to be found by a run that repeats it.

    Raises:
        ValueError: in one line that names the path and what it is.

    Examples:
        >>> regular_file(Path("/dev/null"))
        Traceback (most recent call last):
            ...
        ValueError: /dev/null is no regular file but a device
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a name that no system takes
        return path
    for is_kind, words in _KINDS:
        if is_kind(mode):
            raise ValueError(f"{path} is no regular file but {words}")
    return path
