"""Whether a package is this project's own, for its name may be that of a file of the user's."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def refuse_foreign(name: str) -> None:
    """Raises `ImportError` where `import name` finds anything but the package `name` beside this one.

    Nothing is imported for it.  The folder of a script, or the working one, comes before what is installed.
    """
    own = Path(__file__).resolve().parents[1] / name
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None or Path(spec.origin).resolve().parent != own:
        found = "nothing" if spec is None else spec.origin or "a folder without __init__.py"
        raise ImportError(
            f"{name} should be prefillwall's package in {own}, and Python finds {found} first: rename that, or keep it "
            "off the path (`python -P` leaves out the folder of a script)"
        )
