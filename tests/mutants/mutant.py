"""A small fault in one file, and how it gets into a process: as the file is imported, with nothing changed on disk."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """`old` in `file` becomes `new`, which one of `tests` must catch; `equivalent` is the reason why none can."""

    file: str
    tests: tuple[str, ...]
    old: str
    new: str
    equivalent: str = ""

    @property
    def source(self) -> str:
        """The file with the fault.  Raises `ValueError` where `old` is not in it exactly once."""
        text = (ROOT / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1 or self.old == self.new:
            raise ValueError(f"{self.file} has {text.count(self.old)} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)

    def __str__(self) -> str:
        line = (ROOT / self.file).read_text(encoding="utf-8").partition(self.old)[0].count("\n") + 1
        return f"{self.file}:{line}: {' '.join(self.old.split())} -> {' '.join(self.new.split())}"

    def install(self) -> None:
        """From now on whoever imports the file gets the fault; it must not be imported yet."""
        faulty, source = str(ROOT / self.file), self.source.encode()
        get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

        def read(loader: SourceFileLoader, path: str) -> bytes:
            return source if path == faulty else get_data(loader, path)

        def stats(loader: SourceFileLoader, path: str) -> dict:
            if path == faulty:
                raise OSError("no bytecode of it is read or kept")
            return path_stats(loader, path)

        SourceFileLoader.get_data, SourceFileLoader.path_stats = read, stats


def of(file: str, tests: str | tuple[str, ...], *faults: tuple[str, ...]) -> list[Mutant]:
    """The mutants of one file: (old, new), or (old, new, why it is equivalent)."""
    return [Mutant(file, (tests,) if isinstance(tests, str) else tests, *fault) for fault in faults]
