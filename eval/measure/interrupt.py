"""Ctrl-C, heard for certain and raised where nothing is running.

XLA compiles and runs on threads of its own, and Python's wait for them ends where a signal's handler raises: the thread
goes on with what the interpreter then takes away, and the process dies of a segmentation fault.  Raised inside a
callback of the garbage collector the same exception is swallowed, and the run goes on.  So while something is measured
a first Ctrl-C leaves word, and `breathe` raises it between two programs; a second one raises at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Final

SAID: Final = b"interrupted: ends after the program that runs now; a second Ctrl-C ends at once\n"
"""On stderr, while a first one waits."""


class Told:
    """A handler of SIGINT that remembers; it `raises` at once, or at the second."""

    def __init__(self, *, raises: bool, told: bool = False) -> None:
        self.raises, self.told = raises, told

    def __call__(self, *_: object) -> None:
        raises, self.told = self.raises or self.told, True
        if raises:
            raise KeyboardInterrupt
        with contextlib.suppress(OSError):
            os.write(2, SAID)  # a stream may be in the middle of a line of its own


def listen() -> Told:
    """Has SIGINT remembered from now on; a process that ignores it, as in a shell's background, goes on doing so."""
    ours = Told(raises=True)
    if _can_listen(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, ours)
    return ours


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within it a first SIGINT is raised by `breathe` alone, and at the end at the latest."""
    before = signal.getsignal(signal.SIGINT)
    if not _can_listen(before) or (isinstance(before, Told) and not before.raises):
        yield
        return
    ours = Told(raises=False, told=isinstance(before, Told) and before.told)
    signal.signal(signal.SIGINT, ours)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if isinstance(before, Told):
            before.told |= ours.told
    if ours.told:
        raise KeyboardInterrupt


def breathe() -> None:
    """Raises `KeyboardInterrupt` if word of one was left: nothing is running now."""
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, Told) and handler.told:
        raise KeyboardInterrupt


def _can_listen(before: object) -> bool:
    """Handlers are the main thread's, and those of others are left alone."""
    ours = before is signal.default_int_handler or isinstance(before, Told)
    return ours and threading.current_thread() is threading.main_thread()
