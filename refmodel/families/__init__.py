"""The families whose checkpoints can be read: a file each."""

from __future__ import annotations

from typing import Final

from attention.registry import Registry
from refmodel.families import (
    gemma3,
    gemma4,
    gpt_oss,
    llama,
    mistral,
    qwen2,
    qwen3,
    qwen3_5_moe,
    qwen3_moe,
    qwen3_next,
    smollm3,
)
from refmodel.families.family import Family

FAMILIES: Final[Registry[Family]] = Registry(
    "model family",
    lambda family: family.model_type,
    [
        *(one.FAMILY for one in (qwen3_moe, qwen3, qwen2, llama, smollm3, mistral, gemma3, gpt_oss)),
        mistral.MINISTRAL,
        qwen3_next.FAMILY,
        qwen3_5_moe.FAMILY,
        qwen3_5_moe.TEXT,
        gemma4.FAMILY,
        gemma4.TEXT,
    ],
)
"""By `model_type`; `FAMILIES.register(family)` adds one."""
