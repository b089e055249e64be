"""Where this package keeps what it made: libraries and earlier results."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$PREFILLWALL_CACHE`, or `prefillwall` in the user's cache folder."""
    given = os.environ.get("PREFILLWALL_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prefillwall"
