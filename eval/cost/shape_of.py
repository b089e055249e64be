"""The shape of a model, however it is given: costs need no more of it."""

from __future__ import annotations

import reprlib
from typing import Protocol

from attention.unknown import unknown
from refmodel.checkpoint.find import open_config
from refmodel.paths import is_hub_id, path_named
from refmodel.presets import PRESETS, preset
from refmodel.specification import ModelConfig


class HasConfig(Protocol):
    """Such as a `refmodel.Model`."""

    @property
    def config(self) -> ModelConfig: ...


def shape_of(model: str | ModelConfig | HasConfig) -> ModelConfig:
    """The shape of a preset, a folder, a GGUF file or a Hub id that a text names; a model's; or the shape itself.

    Raises `ValueError` for a name that there is not, and for what is no model.

    Examples:
        >>> shape_of("tiny-dense") is shape_of(shape_of("tiny-dense"))
        True
    """
    if isinstance(model, str):
        return _named(model)
    found = model if isinstance(model, ModelConfig) else getattr(model, "config", None)
    if not isinstance(found, ModelConfig):
        raise ValueError(
            f"a model's shape is wanted, such as refmodel.load(...).config, or its name, got {reprlib.repr(model)}"
        )
    return found


def _named(name: str) -> ModelConfig:
    if name in PRESETS:
        return preset(name)
    if not (path_named(name) or is_hub_id(name)):
        raise ValueError(f"{unknown('model', name, PRESETS)}, or a folder, a GGUF file, or a Hub id owner/name")
    return open_config(name)
