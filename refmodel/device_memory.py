"""How much memory is free, as far as the device and the system tell."""

from __future__ import annotations

from pathlib import Path

import jax


def free_device_bytes() -> int | None:
    """Free memory of the first device, of what JAX may take of it; None where it does not tell."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return available_host_bytes()
    stats = device.memory_stats() or {}
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0) if "bytes_limit" in stats else None


def available_host_bytes() -> int | None:
    """Free host memory, caches counted as free; None where the system does not tell (it is Linux that does)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)
