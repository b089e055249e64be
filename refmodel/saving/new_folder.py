"""A folder that is there whole or not at all: written beside its place under another name, and then renamed."""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from refmodel.paths import is_there
from refmodel.words import reason, shown

OWN_FILES: Final = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|model\.safetensors\.index)\.json"
    r"|model(-\d{5}-of-\d{5})?\.safetensors"
)
"""All that is written into one, and all that a folder may hold in whose place another is put."""


@contextlib.contextmanager
def new_folder(folder: Path, n_bytes: int, *, overwrite: bool) -> Iterator[Path]:
    """The folder to write `n_bytes` to, which becomes `folder` at the end of the `with` block.

    What ends the block before leaves everything as it was; what kills the process leaves a folder `.NAME.unfinished-*`
    beside.

    Raises `ValueError` where something is there already, or came there meanwhile, or the disk has no room.
    """
    folder = _place(folder)
    refuse_taken(folder, overwrite=overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder.parent).free) < n_bytes:
        raise ValueError(f"{folder} would take {n_bytes / 1e9:,.1f} GB; its disk has {free / 1e9:,.1f} GB free")
    made = folder.with_name(f".{folder.name}.unfinished-{secrets.token_hex(4)}")
    made.mkdir()
    try:
        yield made
        _put(made, folder, overwrite=overwrite)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def refuse_taken(folder: Path, *, overwrite: bool) -> None:
    """Raises `ValueError` where a file is, or a folder that may not be replaced."""
    folder = _place(folder)
    if not is_there(folder):
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder but a file; a model is saved as a folder")
    if folder.samefile(Path()):
        raise ValueError(f"{folder} is the folder that this runs in, which is not replaced; name one inside it")
    _refuse_held(folder, folder, overwrite=overwrite)


def _place(folder: Path) -> Path:
    """What is meant, with the home folder put in.  Raises `ValueError` for a path that no system takes."""
    try:
        return folder.expanduser().resolve()
    except (RuntimeError, ValueError) as error:  # the home folder of nobody, links in a circle, a NUL
        raise ValueError(f"{shown(str(folder))} is no path of a folder ({reason(error)})") from error


def _refuse_held(folder: Path, at: Path, *, overwrite: bool) -> None:
    """Raises `ValueError` where `folder`, which is `at` some place now, holds what may not be replaced."""
    held = sorted(at.iterdir())
    if held and not overwrite:
        raise ValueError(
            f"{folder} is there and not empty; overwrite=True, or --overwrite, puts the model in its place"
        )
    if others := [path.name for path in held if not _is_own(path)]:
        raise ValueError(f"{folder} holds {shown(others[0])}, which no model is saved with: it is not overwritten")


def _is_own(path: Path) -> bool:
    return OWN_FILES.fullmatch(path.name) is not None and path.is_file()


def _put(made: Path, folder: Path, *, overwrite: bool) -> None:
    """The older one goes aside first, for no system renames a folder over another that holds something.

    Weights take minutes to write: what may be replaced is looked at again, and aside, where no path leads others.
    """
    refuse_taken(folder, overwrite=overwrite)
    if not is_there(folder):
        made.rename(folder)
        return
    aside = made.with_name(f"{made.name}-before")
    try:
        folder.rename(aside)
        _refuse_held(folder, aside, overwrite=overwrite)
        made.rename(folder)
    except BaseException:  # an interrupt, too
        if is_there(aside) and not is_there(folder):
            aside.rename(folder)
        raise
    _discard(aside)


def _discard(aside: Path) -> None:
    """Removes an older model, file by file; what else came in meanwhile stays, and is said: the new one is in place."""
    try:
        for path in list(aside.iterdir()):
            if _is_own(path):
                path.unlink()
        aside.rmdir()
    except OSError as error:
        said = "the model is saved; of the older one, %s stays (%s)"
        logging.getLogger("refmodel").warning(said, aside, reason(error))
