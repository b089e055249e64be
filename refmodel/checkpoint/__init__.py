"""Checkpoints: a model's description, its tensors and its tokenizer, whatever the files are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refmodel.paths import is_there

if TYPE_CHECKING:
    from refmodel.checkpoint.checkpoint import Checkpoint


def open_checkpoint(source: str | Path) -> Checkpoint:
    """The checkpoint in a Hugging Face folder, or in a GGUF file whatever its name; no weight is read yet.

    What reads a format is imported here, when one is opened: a run on random weights needs none of it.

    Raises `ValueError` for another path, which says what it is, and naming the file that is not readable.
    """
    path = Path(source)
    if is_there(path) and path.is_dir():
        from refmodel.checkpoint.safetensors_folder import SafetensorsFolder

        return SafetensorsFolder(path)
    from refmodel.checkpoint.recognise import is_gguf, no_model, refuse_pointer

    if is_there(path):
        refuse_pointer(path)
    is_named_so = path.suffix == ".gguf" and (not is_there(path) or path.is_file())  # no pipe, which would be waited on
    if not (is_gguf(path) or is_named_so):
        accepted = "accepted: a folder with config.json, or a GGUF file"
        raise ValueError(f"{path}: no model here: {no_model(path)}; {accepted}")
    from refmodel.checkpoint.gguf_file import GgufFile

    return GgufFile(path)
