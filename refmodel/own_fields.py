"""What config.json says under a key of this project's: attention that no family has words for.  Others leave it alone.

    "prefillwall": {"layout": "routed(64|full)"}                  the family's model under that layout
    "prefillwall": {"layout": "3*delta+full", "model_type": ...}  layers with parameters that the family's have not

With the latter `model_type` outside is "prefillwall", so that others refuse the model.
"""

from __future__ import annotations

from typing import Any, Final

from attention.layout import format_layout, parse_layout
from refmodel.fields import Fields
from refmodel.specification import ModelConfig
from refmodel.tree import Leaf, model_leaves

OWN: Final = "prefillwall"


def own_fields(config: ModelConfig, base: ModelConfig, model_type: str) -> dict[str, Any]:
    """The fields that make `config` of `base`, which those of a family say; none where they say it all.

    Raises `ValueError` for a variant that no text spells.
    """
    if config == base:
        return {}
    part = {"layout": _spelled(config)}
    if _stored(config) == _stored(base):
        return {OWN: part}
    return {OWN: {**part, "model_type": model_type}, "model_type": OWN}


def _spelled(config: ModelConfig) -> str:
    spelled = format_layout(config.layout)
    try:
        if parse_layout(spelled, len(config.layout)) == config.layout:
            return spelled
    except ValueError:
        pass
    raise ValueError(
        f"the layout {spelled} does not read back as it is, so no file can name it; accepted: variants that layouts "
        "spell, your own after `attention.register`; of a router in training the layout before `for_training`"
    )


def _stored(config: ModelConfig) -> dict[str, Leaf]:
    """The parameters, without what mixers add to attention."""
    return {path: leaf for path, leaf in model_leaves(config).items() if not leaf.row.of_mixer}


def family_fields(fields: Fields) -> Fields:
    """The fields as the family has them."""
    if fields.values.get("model_type") != OWN:
        return fields
    return Fields({**fields.values, "model_type": _part(fields).get("model_type", str)}, fields.where)


def under_own_key(config: ModelConfig, fields: Fields) -> ModelConfig:
    """The family's model under the layout that the key names.

    Raises `ValueError` for a layout that cannot be read or does not fit, and for what else stands there.
    """
    if fields.values.get(OWN) is None:
        return config
    part = _part(fields)
    layout = part.get("layout", str)
    if layout.strip().endswith(".json"):  # which would be read, wherever it is
        raise ValueError(f"{part.where}: layout names a file; accepted: the layout itself")
    try:
        return config.with_layout(layout)
    except ValueError as error:
        hint = "a variant of your own has to be known before: --plugin FILE, or attention.register"
        raise ValueError(f"{part.where}: layout: {error}; {hint}") from error


def _part(fields: Fields) -> Fields:
    part = Fields(fields.get(OWN, dict), f"{fields.where}: {OWN}")
    part.refuse_others(("layout", "model_type"))
    return part
