"""Checkpoints: a model's description, its tensors and its tokenizer, whatever the files are."""

from __future__ import annotations

from pathlib import Path

from refmodel.checkpoint.checkpoint import Checkpoint


def open_checkpoint(source: str | Path) -> Checkpoint:
    """The checkpoint in a Hugging Face folder or in a .gguf file; no weight is read yet.

    What reads a format is imported here, when one is opened: a run on random weights needs none of it.

    Raises `ValueError` for another path, and naming the file that is not readable.
    """
    path = Path(source)
    if path.is_dir():
        from refmodel.checkpoint.safetensors_folder import SafetensorsFolder

        return SafetensorsFolder(path)
    if path.suffix == ".gguf":
        from refmodel.checkpoint.gguf_file import GgufFile

        return GgufFile(path)
    raise ValueError(f"{path}: no model here; accepted: a folder with config.json, or a .gguf file")
