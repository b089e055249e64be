"""The parameter tree from a Hugging Face folder: config.json and safetensors, in one file or in shards."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open

from refmodel.parameters import Parameter
from refmodel.read_hf_config import from_hf
from refmodel.specification import ModelConfig
from refmodel.weights.fill import Placement, fill, placements

_SINGLE: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_DTYPES: Final = ("F32", "F16", "BF16")

_GATE_UP: Final = "mlp.experts.gate_up_proj"
_FUSED: Final[Mapping[str, str]] = {
    "ffn.gate": _GATE_UP,
    "ffn.up": _GATE_UP,
    "ffn.down": "mlp.experts.down_proj",
}
"""How transformers stores experts in one tensor a layer."""


def load(folder: str | Path, dtype: Any) -> tuple[ModelConfig, Any]:
    """The config and the parameters, in `dtype`, of the model in `folder`.

    Reads `model.safetensors`, or the shards that `model.safetensors.index.json` names.  Experts may be stored one by
    one or fused.  Raises `ValueError` naming the file or the tensor at fault.
    """
    folder = Path(folder)
    config = from_hf(folder / "config.json")
    files = _tensor_files(folder)
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name, file in files.items() if _counts(name, config)}
    for name in shapes:
        if (dtype_found := files[name].get_slice(name).get_dtype()) not in _DTYPES:
            raise ValueError(f"{folder}: {name} is stored as {dtype_found}; accepted: {', '.join(_DTYPES)}")
    return config, fill(config, dtype, _placements(config, shapes), shapes, lambda name: files[name].get_tensor(name),
                        str(folder))  # fmt: skip


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
