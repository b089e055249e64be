"""The library of tokenizers underneath: its ways to refuse, as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from refmodel.words import reason


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Whatever the library raises inside becomes a `ValueError` of one line: `what`, and why.

    It raises plain `Exception` for what it refuses itself, and `TypeError`, `OverflowError` or `UnicodeEncodeError` for
    what it cannot take over from Python.  A panic of its Rust code is a `BaseException` whose class no module exports,
    so it is known by its name; another one, such as an interrupt, passes.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"{what} ({reason(error)})") from error
