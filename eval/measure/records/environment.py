"""Where a measurement was made: enough to judge it, and to repeat it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jax


@dataclass(frozen=True)
class Environment:
    """The machine and the programs; `git_commit` and `git_dirty` are None outside this project's own repository."""

    device_kind: str
    platform: str
    cpu: str
    cores: int
    python: str
    jax: str
    jaxlib: str
    flax: str
    git_commit: str | None
    git_dirty: bool | None
    xla_flags: str


def environment() -> Environment:
    """Of this process."""
    device = jax.devices()[0]
    jax_version, jaxlib, flax = (importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax"))
    commit, dirty = git_state(Path(__file__))
    return Environment(
        device.device_kind, device.platform, _cpu_name(), os.cpu_count() or 1, platform.python_version(),
        jax_version, jaxlib, flax, commit, dirty, os.environ.get("XLA_FLAGS", ""),
    )  # fmt: skip


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_state(file: Path) -> tuple[str | None, bool | None]:
    """Commit of the repository that `file` belongs to, and whether that is changed locally.

    An installation inside somebody else's repository belongs to none.
    """

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(file.parent), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        ours = git("ls-files", "--error-unmatch", file.name) is not None
        commit = git("rev-parse", "HEAD") if ours else None
        return commit, bool(git("status", "--porcelain", "-uno")) if commit else None
    except FileNotFoundError:  # no git
        return None, None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
