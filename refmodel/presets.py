"""Models by name, from their published config.json files: those that run, and those that are only counted."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Final

from attention.unknown import unknown
from refmodel.decoder import decoder
from refmodel.families import (
    gemma3,
    gemma4,
    gpt_oss,
    laguna,
    latent,
    llama,
    mistral,
    nemotron_h,
    post,
    qwen3,
    qwen3_5_moe,
    qwen3_moe,
    qwen3_next,
)
from refmodel.families.family import Family
from refmodel.specification import ModelConfig

_TINY: Final = (
    decoder(
        "tiny-dense", n_layers=4, d_model=48, n_heads=6, n_kv_heads=2, head_dim=16, vocab_size=257, d_ff=80,
        tied_head=True,
    ),
    decoder(
        "tiny-moe", n_layers=4, d_model=48, n_heads=6, n_kv_heads=2, head_dim=16, vocab_size=257, n_experts=11,
        experts_per_token=3, d_expert=24,
    ),
)  # fmt: skip


def _of(family: Family, *configs: ModelConfig) -> tuple[ModelConfig, ...]:
    return tuple(dataclasses.replace(config, family=family.model_type) for config in configs)


_ALL: Final = (
    *_of(qwen3_moe.FAMILY, *qwen3_moe.PRESETS),
    *_of(qwen3.FAMILY, *qwen3.PRESETS),
    *_of(llama.FAMILY, llama.SMOLLM2),
    *_TINY,
    *_of(qwen3_5_moe.FAMILY, qwen3_5_moe.TINY, *qwen3_5_moe.PRESETS),
    *_of(qwen3_next.FAMILY, *qwen3_next.PRESETS),
    *_of(gemma3.FAMILY, *gemma3.PRESETS),
    *_of(gemma4.FAMILY, *gemma4.PRESETS),
    *_of(gpt_oss.FAMILY, *gpt_oss.PRESETS),
    *_of(mistral.FAMILY, *mistral.PRESETS),
    *nemotron_h.PRESETS,
    *latent.PRESETS,
    *laguna.PRESETS,
    *_of(llama.FAMILY, *llama.PRESETS),
    *post.PRESETS,
)

PRESETS: Final[MappingProxyType[str, ModelConfig]] = MappingProxyType({config.name: config for config in _ALL})
"""All of them."""

RUNNING: Final = tuple(config.name for config in _ALL if not config.cannot_run)
"""The names of those that run."""


def preset(name: str) -> ModelConfig:
    """The model of that name, or a `ValueError` that lists them."""
    if name not in PRESETS:
        raise ValueError(unknown("model", name, PRESETS))
    return PRESETS[name]


def refuse_to_run(config: ModelConfig) -> None:
    """Raises `ValueError` for a model that is only counted."""
    if config.cannot_run:
        raise ValueError(
            f"{config.name} can be costed (flops, crossover, variants, cards) and not run: {config.cannot_run}; models "
            f"that run: {', '.join(RUNNING)}"
        )
