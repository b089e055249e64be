"""The families whose checkpoints can be read: a file each."""

from __future__ import annotations

from typing import Final

from attention.registry import Registry
from refmodel.families import gemma3, llama, mistral, qwen3, qwen3_moe
from refmodel.families.family import Family

FAMILIES: Final[Registry[Family]] = Registry(
    "model family",
    lambda family: family.model_type,
    (qwen3_moe.FAMILY, qwen3.FAMILY, llama.FAMILY, mistral.FAMILY, gemma3.FAMILY),
)
"""By `model_type`; `FAMILIES.register(family)` adds one."""
