"""Families whose files are not read, by the names that files have for them, and the presets that cost them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from refmodel.families.family import Family
from refmodel.fields import Fields
from refmodel.words import brief

_GEMMA3: Final = ("gemma3-4b", "gemma3-12b", "gemma3-27b")
_MINISTRAL: Final = ("ministral-3-8b", "ministral-3-14b")
_NEMOTRON: Final = ("nemotron-3-nano-30b-a3b",)

COUNTED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "gemma3": _GEMMA3, "mistral3": _MINISTRAL, "ministral3": _MINISTRAL, "nemotron_h": _NEMOTRON,
    "nemotron_h_moe": _NEMOTRON, "glm4_moe_lite": ("glm-4.7-flash",), "kimi_linear": ("kimi-linear-48b-a3b",),
    "deepseek_v32": ("deepseek-v3.2",), "laguna": ("laguna-xs.2",),
})  # fmt: skip
"""By `model_type` of config.json or `general.architecture` of GGUF; `gemma3` is the one with pictures."""


def family_named(fields: Fields, key: str, known: Mapping[str, Family]) -> Family:
    """The family that a file's `key` names.

    Raises `ValueError` for another, which says what costs it if something does, and what is read.
    """
    name = fields.get(key, str)
    if name in known:
        return known[name]
    presets = " or ".join(COUNTED.get(name, ()))
    instead = f", which is not read; its costs: --model {presets}" if presets else _other_spelling(name, known)
    accepted = ", ".join(map(repr, known))
    raise ValueError(f"{fields.where}: {key} is {brief(name)}{instead}; accepted: {accepted}")


def _other_spelling(name: str, known: Mapping[str, Family]) -> str:
    """What is said of `qwen3moe` for `qwen3_moe`; a name that is merely alike, as `mixtral`, is another model's."""
    same = [one for one in known if one.replace("_", "") == name.lower().replace("_", "").replace("-", "")]
    return f" (did you mean {same[0]!r}?)" if same else ""
