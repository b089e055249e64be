"""Gemma's golden checkpoints as GGUF files: what the families' files have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import gguf
import numpy as np

OUTSIDE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


def write(path: Path, arch: str, header: Mapping[str, object], tensors: Iterable[tuple[str, np.ndarray]]) -> Path:
    """A file with a header of whole numbers, floats, words and lists, each by the type of its value."""
    writer = gguf.GGUFWriter(path, arch)
    add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, list: writer.add_array}
    for key, value in header.items():
        add[type(value)](f"{arch}.{key}", value)
    for name, tensor in tensors:
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def stored_name(name: str, in_layer: Callable[[str], str]) -> str:
    """llama.cpp's name of a Hugging Face tensor; `in_layer` gives it for what follows the layer's number."""
    if name in OUTSIDE:
        return OUTSIDE[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{in_layer(rest)}"
