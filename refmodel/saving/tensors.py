"""A parameter tree as the tensors of a Hugging Face folder: in shards, each tensor made when its shard is written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
from safetensors.numpy import save_file

from attention.checks import of_floats
from attention.indexed import NAMES
from attention.routers import SPAN_ROUTER
from refmodel.checkpoint.folder_files import INDEX, SINGLE
from refmodel.checkpoint.folder_placements import placements_written
from refmodel.checkpoint.placement import Placement
from refmodel.families.family import Family
from refmodel.packed.packed import Packed
from refmodel.specification import ModelConfig
from refmodel.tree import Params, leaves_by_path, model_leaves

MOST_SHARD_BYTES: Final = 5_000_000_000
_METADATA: Final[Mapping[str, str]] = {"format": "pt"}  # transformers asks for it
_DIGITS: Final = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Tensor:
    """A stored tensor, nothing of it made: its type, and what fills it."""

    dtype: np.dtype[Any]
    placed: tuple[Placement, ...]

    @property
    def n_bytes(self) -> int:
        return math.prod(self.placed[0].shape) * self.dtype.itemsize

    def array(self, leaves: Mapping[str, Any]) -> np.ndarray:
        """The numbers, whose bits nothing changes but a logarithm (`refmodel.checkpoint.delta_tensors`)."""
        stored = np.empty(self.placed[0].shape, self.dtype)
        for one in self.placed:
            one.write(stored, _on_host(leaves[one.leaf], one.index))
        return stored


def tensors_of(config: ModelConfig, params: Params, family: Family) -> dict[str, Tensor]:
    """By stored name, in the order of the layers.

    Routers and indexes that another layout left in the tree are left out.

    Raises `ValueError` for packed leaves, and for a tree that is not the description's.
    """
    leaves = _checked(config, params)
    placed: dict[str, list[Placement]] = {}
    for one in placements_written(config, family):
        placed.setdefault(one.name, []).append(one)
    return {name: Tensor(_dtype(name, placed[name], leaves), tuple(placed[name])) for name in sorted(placed, key=_key)}


def _checked(config: ModelConfig, params: Params) -> dict[str, Any]:
    leaves, wanted = leaves_by_path(params), model_leaves(config)
    for path, leaf in wanted.items():
        found = leaves.get(path)
        if isinstance(found, Packed):
            raise ValueError(
                f"{path} is packed ({found.coding.name}), and folders are written in floats: load the model without "
                "`weights`, which expands what files hold packed"
            )
        if found is None or np.shape(found) != leaf.shape:
            said = "missing" if found is None else f"of shape {np.shape(found)}"
            raise ValueError(f"{path} is {said}; {config.name} needs one of shape {leaf.shape}")
        of_floats(path, found)
    left = tuple(f".attn.{name}" for name in (SPAN_ROUTER, NAMES))
    if surplus := [path for path in leaves if path not in wanted and not any(one in path for one in left)]:
        raise ValueError(
            f"{surplus[0]} is no parameter of {config.name}, and no file would hold it; leave it out of params"
        )
    return leaves


def _dtype(name: str, placed: Sequence[Placement], leaves: Mapping[str, Any]) -> np.dtype[Any]:
    found = {np.dtype(one.written_as or leaves[one.leaf].dtype) for one in placed}
    if len(found) > 1:
        raise ValueError(f"{name} holds parameters of several types: {', '.join(sorted(map(str, found)))}")
    return found.pop()


def _key(name: str) -> list[Any]:
    """Numbers in names by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name)]


def _on_host(leaf: Any, index: tuple[int, ...]) -> np.ndarray:
    """A part of a leaf; of an accelerator's no more than that is fetched."""
    if isinstance(leaf, jax.Array) and any(device.platform != "cpu" for device in leaf.devices()):
        return np.asarray(leaf[index])
    return np.asarray(leaf)[index]


def write_tensors(
    folder: Path, tensors: Mapping[str, Tensor], params: Params, most_bytes: int = MOST_SHARD_BYTES
) -> None:
    """`model.safetensors`, or shards of `most_bytes` or of one tensor, and their index."""
    leaves, shards = leaves_by_path(params), _shards(tensors, most_bytes)
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    names = names if len(shards) > 1 else [SINGLE]
    for file, shard in zip(names, shards, strict=True):
        save_file({name: tensors[name].array(leaves) for name in shard}, folder / file, dict(_METADATA))
        (folder / file).chmod(folder.stat().st_mode & 0o666)  # safetensors lets nobody else read it
    if len(shards) > 1:
        total = sum(tensor.n_bytes for tensor in tensors.values())
        files = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        index = {"metadata": {"total_size": total}, "weight_map": files}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _shards(tensors: Mapping[str, Tensor], most_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    held = 0
    for name, tensor in tensors.items():
        if shards[-1] and held + tensor.n_bytes > most_bytes:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += tensor.n_bytes
    return shards
