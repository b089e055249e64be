"""Which model a published name means."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from refmodel.presets import PRESETS

_MODELS: Final = MappingProxyType(
    {
        "qwen3-coder-30b-a3b": "qwen3-30b-a3b",
        "qwen3.6-35b-a3b": "qwen3.5-35b-a3b",
        "qwen3.8-35b-a3b": "qwen3.5-35b-a3b",
        "qwen35-35b-a3b": "qwen3.5-35b-a3b",
        "qwen36-35b-a3b": "qwen3.5-35b-a3b",
        "llama-8b": "llama3-8b",
        "llama-3-8b": "llama3-8b",
        "llama-3.1-8b": "llama3-8b",
        "llama-2-7b": "llama2-7b",
        "gemma-3-1b": "gemma3-1b",
        "gemma-3-4b": "gemma3-4b",
        "gemma-3-12b": "gemma3-12b",
        "gemma-3-27b": "gemma3-27b",
        "gemma-4-26b-a4b": "gemma4-26b-a4b",
        "gemma-4-31b": "gemma4-31b",
    }
)
"""Published names, plainly spelled, of models that have another one here."""

_SUFFIXES: Final = re.compile(
    r"\s*\(.*\)|-(instruct|it|base|chat)\b|-(2507|2512)\b|-(fp8|f32|f16|bf16)$|-(ud-)?i?q\d\w*(-\w+)*$", re.IGNORECASE
)


def model_of(published: str) -> str | None:
    """The name of its cost model here; None for a model that none is known for."""
    plain = published
    while plain != (shorter := _SUFFIXES.sub("", plain).strip()):
        plain = shorter
    plain = plain.lower().replace(" ", "-")
    name = _MODELS.get(plain, plain)
    return name if name in PRESETS else None
