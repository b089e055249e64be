"""Weights of a model, from a checkpoint or random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gguf import GGUFReader

from refmodel.specification import ModelConfig
from refmodel.weights import gguf_file, hf


def load(source: str | Path | GGUFReader, dtype: Any) -> tuple[ModelConfig, Any]:
    """The config and the parameter tree, in `dtype`, from a Hugging Face folder or a .gguf file (or a reader of one).

    Raises `ValueError` naming the file or the tensor at fault; never returns part of a tree.
    """
    if isinstance(source, GGUFReader):
        return gguf_file.load(source, dtype)
    path = Path(source)
    if path.is_dir():
        return hf.load(path, dtype)
    if path.suffix == ".gguf":
        return gguf_file.load(path, dtype)
    raise ValueError(f"{path}: no model here; accepted: a folder with config.json, or a .gguf file")
