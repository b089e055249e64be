"""Where a model comes from: one spelling for presets, folders, GGUF files and Hub ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attention.unknown import did_you_mean
from refmodel.checkpoint import open_checkpoint
from refmodel.default_model import DEFAULT_MODEL, default_gguf
from refmodel.paths import is_hub_id, path_named
from refmodel.presets import PRESETS, RUNNING, preset
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    from refmodel.checkpoint.checkpoint import Checkpoint
    from refmodel.checkpoint.hub import HubModel
    from refmodel.checkpoint.random_weights import RandomWeights

    Found = Checkpoint | HubModel | RandomWeights


def open_config(spec: str) -> ModelConfig:
    """The description alone, without reading any weight: see `open_model` for `spec`."""
    return find_checkpoint(spec).described


def find_checkpoint(spec: str, seed: int = 0) -> Found:
    """The checkpoint behind `spec`, none of its weights read; random ones for a preset that comes without."""
    if spec == DEFAULT_MODEL:
        return open_checkpoint(default_gguf())
    if spec in PRESETS:
        from refmodel.checkpoint.random_weights import RandomWeights

        return RandomWeights(preset(spec), seed)
    if path := path_named(spec):
        return open_checkpoint(path)
    if is_hub_id(spec):
        from refmodel.checkpoint.hub import HubModel

        return HubModel(spec)
    accepted = f"a folder, a GGUF file, a Hub id owner/name, or a preset ({', '.join(RUNNING)})"
    raise ValueError(f"no model {spec!r}: no such path{did_you_mean(spec, PRESETS)}; accepted: {accepted}")
