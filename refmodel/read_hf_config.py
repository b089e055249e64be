"""The description of a model from the config.json of a Hugging Face checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refmodel.families import FAMILIES
from refmodel.families.counted import family_named
from refmodel.fields import Fields
from refmodel.specification import ModelConfig


def from_hf(config: Mapping[str, Any] | str | Path) -> ModelConfig:
    """The model that a config.json describes: `config` is its path or its content.

    What it leaves out is its family's default.  A model whose layers can be counted and not computed (an activation or
    positions of another kind) says so in `cannot_run`.

    Raises `ValueError` naming the field for a model that can be neither: another family, another kind of attention.
    """
    name, fields = _open(config)
    family = family_named(fields, "model_type", FAMILIES)
    return family.from_config(name, fields.with_defaults(family.defaults))


def _open(config: Mapping[str, Any] | str | Path) -> tuple[str, Fields]:
    if isinstance(config, Mapping):
        return str(config.get("model_type")), Fields(config, "config")
    path = Path(config)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable config.json ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a config.json holds an object, got {type(values).__name__}")
    return path.absolute().parent.name, Fields(values, str(path))
