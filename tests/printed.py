"""Code blocks of README.md and of the pages in docs/, carried out as a reader would: alone in a file of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str, indent: str = "") -> list[str]:
    """The page's fenced blocks of a language; in a list they are indented."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^{indent}```{language}\n(.*?)^{indent}```$", text, re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in block.splitlines()) for block in found]


def modules_with_examples() -> list[str]:
    """Modules of the three packages in whose docstrings examples stand."""
    paths = (path for package in ("attention", "refmodel", "eval") for path in sorted((ROOT / package).rglob("*.py")))
    with_examples = (path for path in paths if ">>> " in path.read_text(encoding="utf-8"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in with_examples]


def carry_out(source: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `source` defines; the `from __future__` of whoever asks is not passed on, as it would be by `exec` alone."""
    names = {} if names is None else names
    exec(compile(source, "printed", "exec", dont_inherit=True), names)
    return names
