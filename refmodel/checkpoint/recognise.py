"""What a file is, by its first bytes, and what to do with one that holds no model as this project reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from refmodel.checkpoint.gguf_header import MAGIC
from refmodel.paths import is_there

_ORBAX: Final = ("_CHECKPOINT_METADATA", "_METADATA", "training.json")
_POINTER: Final = b"version https://git-lfs"
_OLDER: Final = (b"lmgg", b"fmgg", b"tjgg", b"algg")  # ggml, ggmf, ggjt, ggla, read from their last letter
_PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt")
_OF_A_FOLDER: Final = (".json", ".safetensors", ".model", ".txt")


def is_gguf(path: Path) -> bool:
    """Whatever the file is called: Ollama names its files by their hash."""
    return _begins(path, MAGIC)


def refuse_pointer(path: Path) -> None:
    """Raises `ValueError` for what Git leaves where large files were not fetched; a missing file passes."""
    if path.is_file() and _begins(path, _POINTER):
        raise ValueError(f"{path} is a Git LFS pointer, not the file itself; `git lfs pull` in its folder fetches it")


def refuse_no_model(folder: Path) -> None:
    """Raises `ValueError` for a folder without a config.json, with what it is instead."""
    path = folder / "config.json"
    refuse_pointer(path)
    if not path.exists():
        inside = sorted(file.name for file in folder.glob("*.gguf"))
        instead = f"; it holds {inside[0]}: give that file" if inside else ""
        if any((folder / name).exists() for name in _ORBAX):
            instead = "; what orbax or a training run keeps is restored in Python, and Model.save writes what is read"
        raise ValueError(f"{folder}: no config.json here, which says what the model is{instead}")


def no_model(path: Path) -> str:
    """Why there is no model in a file that is not GGUF, and what would do, in words that follow its name."""
    if not is_there(path):
        return "there is no such file"
    if _begins(path, *_OLDER):
        return "a file of the time before GGUF; convert it with llama.cpp, or take the model's GGUF file"
    if path.suffix in _PICKLED:
        return f"pickled by PyTorch, and nothing is unpickled here; {SAVE_AS_SAFETENSORS}"
    if path.suffix in _OF_A_FOLDER:
        return f"one file of a model's folder; give the folder, {path.parent}"
    return "it does not begin with GGUF" if path.is_file() else "it is no regular file"


SAVE_AS_SAFETENSORS: Final = (
    "save it as safetensors, such as by transformers' AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)"
)


def _begins(path: Path, *magics: bytes) -> bool:
    try:
        if not path.is_file():  # a pipe would be waited on for ever
            return False
        with path.open("rb") as file:
            return file.read(max(map(len, magics))).startswith(magics)
    except OSError:
        return False
