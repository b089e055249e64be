"""Checkpoints in one call: description and parameters, description, tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refmodel.checkpoint import open_checkpoint
from refmodel.specification import ModelConfig
from refmodel.tree import Params


def load(path: str | Path, dtype: Any) -> tuple[ModelConfig, Params]:
    checkpoint = open_checkpoint(path)
    return checkpoint.config, checkpoint.params(dtype)


def from_gguf(path: str | Path) -> ModelConfig:
    return open_checkpoint(path).config


def load_tokenizer(path: str | Path) -> Any:
    return open_checkpoint(path).tokenizer()
