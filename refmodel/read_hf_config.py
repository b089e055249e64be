"""The description of a model from the config.json of a Hugging Face checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refmodel.families import FAMILIES
from refmodel.families.counted import family_named
from refmodel.families.family import Family
from refmodel.fields import Fields, naming
from refmodel.json_object import read_object
from refmodel.own_fields import family_fields, under_own_key
from refmodel.specification import ModelConfig


def from_hf(config: Mapping[str, Any] | str | Path) -> ModelConfig:
    """The model that a config.json describes: `config` is its path or its content.

    What it leaves out is its family's default.  A model whose layers can be counted and not computed (an activation or
    positions of another kind) says so in `cannot_run`.

    Raises `ValueError` naming the field for a model that can be neither: another family, another kind of attention.
    """
    return read_hf(config)[1]


def read_hf(config: Mapping[str, Any] | str | Path) -> tuple[Family, ModelConfig]:
    """The same, and the model's family, which says how its tensors are stored."""
    name, fields = _open(config)
    family = family_named(family_fields(fields), "model_type", FAMILIES)
    own = naming(fields.where, lambda: family.from_config(name, fields.with_defaults(family.defaults)))
    own = dataclasses.replace(own, family=family.model_type, own_mixers=())
    return family, under_own_key(own, fields)


def _open(config: Mapping[str, Any] | str | Path) -> tuple[str, Fields]:
    if isinstance(config, Mapping):
        return str(config.get("model_type")), Fields(config, "config")
    path = Path(config)
    return path.absolute().parent.name, Fields(read_object(path), str(path))
