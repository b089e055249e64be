"""Measurements on disk: JSON lines, appended as soon as each exists.

A run that is killed loses at most the line in flight; the next append cuts such a torn line off.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

Record = dict[str, Any]

UNTOLD = "useful, it does not tell"
"""Where executed FLOPs come from that a library does not tell: no table shows them."""

RUN_FIELDS = ("model", "weights", "device", "device_kind", "cpu", "dtype")
"""What all records of one file have in common: figures of two machines or two models are not compared."""

KEY_FIELDS = (*RUN_FIELDS, "kind", "layout", "tokens", "impl", "text_sha256")
"""What makes two records the same cell of a sweep."""


def key(record: Record) -> tuple[Any, ...]:
    """The cell that a record (or a planned one) belongs to."""
    return tuple(_field(record, field) for field in KEY_FIELDS)


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds `folder` for one run: two that append to one file would each report the other's figures."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends, however it ends
        except BlockingIOError as error:
            raise ValueError(f"another run writes to {folder}; wait for it, or choose another --out") from error
        yield


def refuse_others(path: Path, common: Record) -> None:
    """Raises `ValueError` if the records in `path` were made with another model or on another machine."""
    for record in read(path):
        for field in RUN_FIELDS:
            if _field(record, field) != _field(common, field):
                raise ValueError(
                    f"{path} holds records of {field} {_field(record, field)!r}, this run's is "
                    f"{_field(common, field)!r}; resume with the same, or choose another --out"
                )


def _field(record: Record, field: str) -> Any:
    return record.get(field, record.get("environment", {}).get(field))


def append(path: Path, record: Record) -> None:
    """Adds one line, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        _cut_torn_line(file)
        file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Record]:
    """All complete records; of several for one cell all are kept, oldest first."""
    if not path.exists():
        return []
    *lines, torn = path.read_bytes().split(b"\n")
    del torn  # empty, or the line that a killed run did not finish
    return [_parse(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def latest(records: Iterable[Record]) -> list[Record]:
    """The newest record of each cell, in the order in which the cells first appeared."""
    newest: dict[tuple[Any, ...], Record] = {}
    for record in records:
        newest[key(record)] = record
    return list(newest.values())


def environment() -> Record:
    """Where a measurement was made: enough to judge it, and to repeat it."""
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")}
    return {
        "device_kind": device.device_kind,
        "platform": device.platform,
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
        **git_state(Path(__file__)),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _parse(path: Path, number: int, line: bytes) -> Record:
    try:
        record = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text; records of a comparison are lines of JSON") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}:{number} is not a JSON record ({error.msg}); move the file away or mend it"
        ) from error
    if not isinstance(record, dict):
        raise ValueError(f"{path}:{number} is not a record of a comparison: a JSON object is wanted")
    missing = [field for field in ("kind", "layout", "tokens", "status") if field not in record]
    if missing:
        raise ValueError(f"{path}:{number} is not a record of a comparison: no {missing[0]!r}")
    return record


def _cut_torn_line(file: Any) -> None:
    size = file.seek(0, os.SEEK_END)
    if not size:
        return
    file.seek(0)
    keep = file.read().rfind(b"\n") + 1
    if keep < size:
        file.truncate(keep)
    file.seek(0, os.SEEK_END)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def git_state(file: Path) -> Record:
    """The commit of the repository that `file` belongs to; an installation inside somebody else's belongs to none."""

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", file.parent, *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        ours = git("ls-files", "--error-unmatch", file.name) is not None
        commit = git("rev-parse", "HEAD") if ours else None
        return {"git_commit": commit, "git_dirty": bool(git("status", "--porcelain", "-uno")) if commit else None}
    except FileNotFoundError:  # no git
        return {"git_commit": None, "git_dirty": None}
