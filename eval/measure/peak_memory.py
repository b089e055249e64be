"""The most memory that this process held, as the system tells it."""

from __future__ import annotations

from pathlib import Path


class PeakMemory:
    """Peak resident bytes of this process from construction or `reset` on, where the system tells (Linux)."""

    _STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets what was before."""
        try:
            self._RESET.write_text("5")  # resets the high-water mark, see proc(5)
            self._known = True
        except OSError:
            self._known = False

    def peak_bytes(self) -> int | None:
        if not self._known:
            return None
        line = next(line for line in self._STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
