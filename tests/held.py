"""What reading a hostile file may take, seconds of the processor and memory by its size, and what may be said of it."""

from __future__ import annotations

import contextlib
import signal
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CPU_SECONDS = 5
MOST_CHARACTERS = 1_500
SPARE_BYTES = 8_000_000  # what opening a model takes whatever its size: descriptions, caches of the interpreter


@contextlib.contextmanager
def held(file_bytes: int) -> Iterator[None]:
    """Raises `TimeoutError` in what hangs, and `AssertionError` for memory beyond twice the file and what is spare.

    Measured is what Python and numpy allocate; the processor's seconds do not depend on what else runs.
    """

    def hangs(*_: Any) -> None:
        raise TimeoutError(f"more than {CPU_SECONDS} s of the processor for a file of {file_bytes} bytes")

    before = signal.signal(signal.SIGPROF, hangs)
    tracemalloc.start()
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        tracemalloc.stop()
    assert peak_bytes <= 2 * file_bytes + SPARE_BYTES, (peak_bytes, file_bytes)


def one_line(error: ValueError, name: Path) -> None:
    """Whether a refusal names the file, on one line that somebody would read."""
    said = str(error)
    assert str(name) in said and len(said.splitlines()) == 1 and len(said) < MOST_CHARACTERS, repr(error)
