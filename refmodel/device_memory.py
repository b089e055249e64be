"""How much memory is free, as far as the device and the system tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import jax

_PROC: Final = Path("/proc")
_GROUPS: Final = Path("/sys/fs/cgroup")


class _Names(NamedTuple):
    """The files of a control group that limit and count memory, and the lines of memory.stat that count caches."""

    limit: str
    used: str
    caches: tuple[str, ...]


_VERSION_1: Final = _Names(
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")
)
_VERSION_2: Final = _Names("memory.max", "memory.current", ("active_file", "inactive_file"))


def free_device_bytes() -> int | None:
    """Free memory of the first device, of what JAX may take of it; None where it does not tell."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return available_host_bytes()
    stats = device.memory_stats() or {}
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0) if "bytes_limit" in stats else None


def available_host_bytes(proc: Path = _PROC, groups: Path = _GROUPS) -> int | None:
    """Free host memory, caches counted as free: the machine's, or less where a control group of this process (its
    container, its service) is limited; None where the system does not tell (it is Linux that does)."""
    lines = dict(line.split(":", 1) for line in _text(proc / "meminfo").splitlines() if ":" in line)
    told = [1024 * int(lines["MemAvailable"].split()[0])] if "MemAvailable" in lines else []
    return min((*told, *_left_to_groups(proc, groups)), default=None)


def _left_to_groups(proc: Path, groups: Path) -> Iterator[int]:
    """What each limited group may still take: a process is in its own one and in all above it.

    `/proc/self/cgroup` has a line `number:controllers:path` for each hierarchy; version 2 has one, without controllers.
    Inside a container the path may be the host's, and the container's own group is the root of what it sees.
    """
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (groups / "memory", _VERSION_1) if controllers else (groups, _VERSION_2)
        own = root / path.lstrip("/")
        for folder in (own, *own.parents[: len(own.parts) - len(root.parts)]):
            limit, used = _text(folder / names.limit).strip(), _text(folder / names.used).strip()
            if limit.isdecimal() and used.isdecimal():  # `max` limits nothing
                counts = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
                caches = sum(int(counts.get(name, 0)) for name in names.caches)
                yield max(0, int(limit) - int(used) + caches)


def _text(path: Path) -> str:
    """Nothing where there is no such file, or nobody may read it."""
    try:
        return path.read_text()
    except OSError:
        return ""
