"""The paths and Hub ids that words of users and of files spell, which may be words that no file system takes."""

from __future__ import annotations

from pathlib import Path


def path_named(word: str) -> Path | None:
    """The path that a user's `word` spells, its home folder put in, where something is there."""
    try:
        path = Path(word).expanduser()
    except RuntimeError:  # the home folder of nobody
        return None
    return path if is_there(path) else None


def is_there(path: Path) -> bool:
    """Whether there is something; under a name that is too long, or where nobody may look, is nothing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_hub_id(word: str) -> bool:
    """Whether a word that is no path looks like owner/name."""
    return word.count("/") == 1 and not word.startswith((".", "/", "~")) and not word.lower().endswith(".gguf")
