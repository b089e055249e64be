"""config.json of a description: the fields of the first family that reads back as it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from attention.full import Full
from refmodel.families import FAMILIES
from refmodel.families.family import Family
from refmodel.own_fields import own_fields
from refmodel.read_hf_config import read_hf
from refmodel.specification import ModelConfig


class Written(NamedTuple):
    """The fields of a config.json, and the family that they are of."""

    fields: Mapping[str, Any]
    family: Family


def written_config(config: ModelConfig) -> Written:
    """What `refmodel.read_hf_config` reads as `config`, and others as far as they have words for its attention.

    The fields say the model with its layout where its family has words for that; else under its own layout, or with
    full attention, and the layout stands beside them (`refmodel.own_fields`).

    Raises `ValueError` for a model that no family's fields say, and for a variant that no text spells.
    """
    for base, family in _choices(config):
        fields = _fields(family, base)
        if fields is not None:
            model_type = fields["model_type"]
            return Written({**fields, **own_fields(config, base, model_type)}, FAMILIES[model_type])
    raise ValueError(
        f"{config.name}: no config.json says this model; accepted: models as those of the families "
        f"{', '.join(FAMILIES)} are"
    )


def _choices(config: ModelConfig) -> Iterator[tuple[ModelConfig, Family]]:
    """What may be said, and as which family's: the model's own, before others."""
    bases = [config, config.under_own_layout]
    if any(layer.attends for layer in config.layers):
        bases.append(config.with_layout(Full()))
    own = [FAMILIES[config.family]] if config.family in FAMILIES else []
    for families in (own, FAMILIES.values()):
        yield from ((base, family) for base in dict.fromkeys(bases) for family in families if family.to_config)


def _fields(family: Family, config: ModelConfig) -> dict[str, Any] | None:
    """None where they do not say the description."""
    assert family.to_config
    try:
        fields = dict(family.to_config(config))
        _, found = read_hf(fields)
    except (ValueError, ArithmeticError):  # a scale of 0 has no inverse
        return None
    return fields if dataclasses.replace(found, name=config.name) == config else None
