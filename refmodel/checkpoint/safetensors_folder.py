"""A Hugging Face folder: config.json and safetensors, in one file or in shards."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors import safe_open

from refmodel.checkpoint.checkpoint import Checkpoint
from refmodel.checkpoint.formats import WEIGHT_FORMATS, WeightFormat
from refmodel.checkpoint.placement import Placement, Shape, placements
from refmodel.parameters import Parameter
from refmodel.read_hf_config import from_hf
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SINGLE: Final = "model.safetensors"
_TOKENIZER: Final = "tokenizer.json"
_INDEX: Final = "model.safetensors.index.json"

_GATE_UP: Final = "mlp.experts.gate_up_proj"
_FUSED: Final[Mapping[str, str]] = {
    "ffn.gate": _GATE_UP,
    "ffn.up": _GATE_UP,
    "ffn.down": "mlp.experts.down_proj",
}
"""How transformers stores experts in one tensor a layer."""


class SafetensorsFolder(Checkpoint):
    """config.json, tokenizer.json, and `model.safetensors` or the shards that `model.safetensors.index.json` names.

    Experts may be stored one by one or fused.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def where(self) -> str:
        return str(self.folder)

    @cached_property
    def config(self) -> ModelConfig:
        return from_hf(self.folder / "config.json")

    @cached_property
    def _files(self) -> dict[str, Any]:
        return _tensor_files(self.folder)

    @cached_property
    def _formats(self) -> dict[str, WeightFormat]:
        """Of each tensor that takes part and belongs to no other."""
        found = {name: self._format(name) for name in self._files if _counts(name, self.config)}
        beside = {name + ending for name, one in found.items() if one for ending in one.beside}
        formats: dict[str, WeightFormat] = {}
        for name in found.keys() - beside:
            if (one := found[name]) is None:
                stored = self._files[name].get_slice(name).get_dtype()
                raise ValueError(f"{self.where}: {name} is stored as {stored}; accepted: {', '.join(WEIGHT_FORMATS)}")
            formats[name] = one
        return formats

    def _format(self, name: str) -> WeightFormat | None:
        return WEIGHT_FORMATS.get(self._files[name].get_slice(name).get_dtype())

    def shapes(self) -> dict[str, Shape]:
        return {
            name: one.shape(tuple(self._files[name].get_slice(name).get_shape())) for name, one in self._formats.items()
        }

    def placements(self) -> list[Placement]:
        return _placements(self.config, self._formats)

    def read(self, name: str) -> np.ndarray:
        one = self._formats[name]
        names = (name, *(name + ending for ending in one.beside))
        if missing := [part for part in names if part not in self._files]:
            raise ValueError(f"{self.where}: {missing[0]} is missing, which {name} is read with")
        return one.decode(*(self._files[part].get_tensor(part) for part in names))

    def tokenizer(self) -> Tokenizer | None:
        """That of tokenizer.json; None where there is no such file: the model then reads token ids alone."""
        from refmodel.tokenizer import folder_tokenizer

        return folder_tokenizer(self.folder) if (self.folder / _TOKENIZER).exists() else None


def _counts(name: str, config: ModelConfig) -> bool:
    """A tied head may be stored all the same, and old files hold the rotary frequencies, which the config gives."""
    return not (config.tied_head and name == "lm_head.weight") and not name.endswith(".rotary_emb.inv_freq")


def _placements(config: ModelConfig, found: Iterable[str]) -> list[Placement]:
    fused = _FUSED if any(name.endswith(_GATE_UP) for name in found) else {}

    def stored_name(row: Parameter) -> str:
        return f"model.layers.{{layer}}.{fused[row.path]}" if row.copies > 1 and row.path in fused else row.hf

    placed = placements(config, stored_name)
    return [_halved(one) if one.name.endswith(_GATE_UP) else one for one in placed]


def _halved(one: Placement) -> Placement:
    """`gate` or `up` [E, F, D] in the tensor [E, 2F, D] that holds the one above the other."""
    experts, width, d_model = one.shape
    half = slice(0, width) if one.leaf.endswith("gate") else slice(width, 2 * width)
    return dataclasses.replace(one, shape=(experts, 2 * width, d_model), pick=lambda stored: stored[:, half])


def _tensor_files(folder: Path) -> dict[str, Any]:
    """The open file of each tensor of a checkpoint."""
    files: dict[str, Any] = {}
    for path in _shards(folder):
        try:
            shard = safe_open(path, framework="numpy")
        except Exception as error:  # safetensors raises its own type, and OSError
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
        for name in shard.keys():  # noqa: SIM118 - a file is no mapping
            if name in files:
                raise ValueError(f"{path}: {name} is stored in an earlier shard too")
            files[name] = shard
    return files


def _shards(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if not index.exists():
        return [folder / _SINGLE]
    try:
        return sorted({folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{index}: not a readable index of shards ({error!r})") from error
