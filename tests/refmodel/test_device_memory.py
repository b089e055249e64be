"""What is free: of a device as JAX tells it, of a host as Linux tells it, within the limits of a container."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from refmodel import device_memory
from refmodel.device_memory import available_host_bytes

KB = 1024
V1, V2 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"), ("memory.max", "memory.current", "")


@pytest.mark.parametrize(("stats", "free_bytes"), [
    ({"bytes_limit": 101, "bytes_in_use": 29}, 72), ({"bytes_limit": 101}, 101), ({"bytes_in_use": 29}, None),
    (None, None),
])  # fmt: skip
def test_a_gpu_says_what_of_its_memory_is_free(stats, free_bytes, monkeypatch):
    gpu = SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
    monkeypatch.setattr(device_memory.jax, "devices", lambda: [gpu])
    assert device_memory.free_device_bytes() == free_bytes


def machine(root, groups: str, meminfo: str = "MemTotal: 999 kB\nMemAvailable:  101 kB\nHugePages_Total: 7\n"):
    """`/proc` and `/sys/fs/cgroup` of a machine with 101 kB free, whose process is in `groups`."""
    (root / "self").mkdir(parents=True)
    (root / "self" / "cgroup").write_text(groups)
    (root / "meminfo").write_text(meminfo)
    return root, root / "groups"


def limit(folder, names, most, used, caches=(0, 0)):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used}\n")
    lines = zip(("active_file", "inactive_file"), caches, strict=True)
    own = "inactive_file 1\n" * bool(names[2])  # of the group without those below it: version 1 tells both
    (folder / "memory.stat").write_text("anon 1000003\n" + own + "".join(f"{names[2]}{a} {b}\n" for a, b in lines))


def test_a_machine_without_limits_has_what_linux_says(tmp_path):
    assert available_host_bytes(*machine(tmp_path / "x", "0::/\n4:memory:/a\n")) == 101 * KB
    assert available_host_bytes(*machine(tmp_path / "y", "", "MemTotal: 999 kB\n")) is None
    assert available_host_bytes(tmp_path / "none", tmp_path / "none") is None


@pytest.mark.parametrize(("names", "line", "where"), [
    (V2, "0::/", ""), (V2, "0::/a/b", "a/b"), (V2, "0::/a/b", "a"), (V2, "0::/a/b", ""), (V2, "0::/../../a", ""),
    (V1, "5:cpu,memory:/a/b", "memory/a/b"), (V1, "5:memory:/a/b", "memory/a"), (V1, "5:memory:/docker/7f", "memory"),
])  # fmt: skip
def test_a_group_leaves_its_limit_less_what_it_uses(names, line, where, tmp_path):
    """Its own group, one above it, or that of a container, whose path is the host's; caches can be given back."""
    proc, groups = machine(tmp_path, f"3:pids:/a\n{line}\n")
    limit(groups / where, names, 97 * KB, 31 * KB, (3 * KB, 5 * KB))
    assert available_host_bytes(proc, groups) == (97 - 31 + 3 + 5) * KB
    limit(groups / where, names, 31 * KB, 37 * KB)
    assert available_host_bytes(proc, groups) == 0
    limit(groups / where, names, 997 * KB, 0)
    assert available_host_bytes(proc, groups) == 101 * KB


def test_the_narrowest_counts_and_max_is_no_limit(tmp_path):
    proc, groups = machine(tmp_path, "0::/a/b\n7:memory:/c\n")
    for folder, names, most in (("a/b", V2, "max"), ("a", V2, 83 * KB), ("memory/c", V1, 2**63 - 4096)):
        limit(groups / folder, names, most, 11 * KB)
    assert available_host_bytes(proc, groups) == 72 * KB
    limit(groups / "memory", V1, 71 * KB, 2 * KB)
    assert available_host_bytes(proc, groups) == 69 * KB
    (groups / "memory" / "memory.stat").unlink()  # caches that nobody tells count as used
    assert available_host_bytes(proc, groups) == 69 * KB


def test_what_other_controllers_limit_is_not_memory(tmp_path):
    proc, groups = machine(tmp_path, "3:pids,memoryx:/a\n")
    limit(groups / "memory" / "a", V1, 7, 0)
    assert available_host_bytes(proc, groups) == 101 * KB
