"""The records of a comparison in a file: who may write it, what is in it, and of which model that is."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from attention.regular_file import regular_file
from eval.measure.records import json_lines
from eval.measure.records.decode import from_json, to_json
from eval.measure.records.schema import Cell, Record, RunInfo, names_of
from refmodel.presets import PRESETS, preset
from refmodel.specification import ModelConfig
from refmodel.words import shown

FILE_NAME: Final = "records.jsonl"
LOCK: Final = ".lock"

PROBE_BYTES: Final = 2**16
"""Room that there must be before anything is measured: some dozens of records."""


def append(path: Path, record: Record) -> None:
    """Adds one line, on the disk when this returns."""
    json_lines.append(path, to_json(record))


def read(path: Path) -> list[Record]:
    """All complete records; of several for one cell all are kept, oldest first.

    Raises `ValueError` in one line that names file, line and field of what is no record of a comparison.
    """
    return [_record(path, number, line) for number, line in json_lines.read(path)]


def _record(path: Path, number: int, line: dict[str, object]) -> Record:
    try:
        return from_json(line)
    except ValueError as error:
        raise ValueError(f"{path}:{number} is not a record of a comparison: {error}") from error


def latest(records: Iterable[Record]) -> list[Record]:
    """The newest record of each cell, in the order in which the cells first appeared."""
    newest: dict[Cell, Record] = {}
    for record in records:
        newest[record.cell] = record
    return list(newest.values())


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds `folder` for one run: two that append to one file would each report the other's figures.

    Makes the folder, and tries whether it takes a file at all: a disk that is full and a folder that may only be read
    are found before anything is measured.  Raises `ValueError` where another run holds it, `OSError` that names the
    file where it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends, however it ends
        except BlockingIOError as error:
            raise ValueError(f"another run writes to {folder}; wait for it, or choose another --out") from error
        _try_to_write(folder)
        yield


def refuse_place(folder: Path) -> None:
    """Raises what names what stands in the way of a folder, before a model is read for it; makes nothing.

    It is `OSError` where the system would not have the folder, `ValueError` for a name that no folder has and where
    one of the files in it is no regular one.
    """
    if "\0" in str(folder):
        raise ValueError(f"{str(folder)!r} is no name of a folder")
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        number = errno.EEXIST if there == folder else errno.ENOTDIR
    elif not os.access(there, os.W_OK | os.X_OK):
        number = errno.EACCES
    else:
        for name in (LOCK, FILE_NAME):
            regular_file(folder / name)
        with json_lines.naming(folder), tempfile.TemporaryFile(dir=there):  # /proc may be written, and takes nothing
            return
    raise OSError(number, os.strerror(number), str(there))


def _try_to_write(folder: Path) -> None:
    with json_lines.naming(folder), tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
    if (path := folder / FILE_NAME).exists():
        path.open("ab").close()


def set_aside(path: Path) -> Path:
    """Renames a file to `records.<time of its change>.jsonl`, never over one that is there: `-2`, `-3`, ... follow.

    The caller is the folder's `only_writer`.
    """
    return path.rename(_aside(path))


def _aside(path: Path) -> Path:
    """The first such name that is free."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(path.stat().st_mtime))
    names = itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2)))
    free = (path.with_name(f"{path.stem}.{name}{path.suffix}") for name in names)
    return next(one for one in free if not one.exists())


def keep_only(path: Path, records: Iterable[Record]) -> Path:
    """Puts a file of `records` in the place of one that stays beside it, as `set_aside` names it; returns that name.

    Whenever a run is killed, there is a whole file at `path`, the old one or the new one.
    """
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch()
    for record in records:
        append(fresh, record)
    aside = _aside(path)
    _duplicate(path, aside)
    os.replace(fresh, path)
    return aside


def _duplicate(path: Path, other: Path) -> None:
    """The file under a second name; a copy, where the file system has no links."""
    try:
        os.link(path, other)
    except OSError:
        with json_lines.naming(other):
            copy = other.with_name(f".{other.name}.new")
            shutil.copy2(path, copy)
            os.replace(copy, other)


def refuse_others(path: Path, run: RunInfo) -> None:
    """Raises `ValueError` if the records in `path` were made with another model or on another machine."""
    ours = names_of(run)
    for record in read(path):
        for field, value in names_of(record.run).items():
            if value != ours[field]:
                raise ValueError(
                    f"{path} holds records of {field} {value!r}, this run's is {ours[field]!r}; resume with the same, "
                    "or choose another --out"
                )


def records_path(path: str | Path) -> Path:
    """The file of records that a folder or a file stands for.  Raises `ValueError` where there is none."""
    try:
        file = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
        is_there = file.is_file()
    except OSError:  # a name that no file can have
        file, is_there = Path(path), False
    if not is_there:
        raise ValueError(f"no records at {file}; the folder of a comparison is wanted, or its {FILE_NAME}")
    return file


def read_comparison(path: str | Path) -> tuple[Path, list[Record]]:
    """The file that `path` stands for and all its records, of which there is one at least."""
    file = records_path(path)
    found = read(file)
    if not found:
        raise ValueError(f"no records of a comparison in {file}")
    return file, found


def config_of(records: Sequence[Record], file: Path) -> ModelConfig:
    """Of the one model that the records name."""
    from refmodel.checkpoint.find import open_config  # a preset needs none of it

    names = sorted({record.run.model for record in records})
    if len(names) > 1:
        told = ", ".join(map(shown, names))
        raise ValueError(f"{file} holds records of several models, {told}; a comparison is of one")
    (name,) = names
    try:
        return preset(name) if name in PRESETS else open_config(name)
    except ValueError as error:
        raise ValueError(f"{file} holds records of {name!r}, whose shape is not known here; say which model") from error
