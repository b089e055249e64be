"""Qwen3.5's and 3.6's mixtures of experts: the text part, which is Qwen3-Next with projections stored apart."""

from __future__ import annotations

from typing import Any, Final

from attention.cost import Heads
from attention.gated_delta import GatedDelta
from refmodel.families.config_fields import text_part
from refmodel.families.family import Family
from refmodel.families.gated_deltanet import (
    DEFAULTS,
    RENAMED,
    every,
    experts_of,
    hybrid,
    read_config,
    read_header,
    written_hybrid,
)
from refmodel.fields import Fields
from refmodel.parts import Experts, Rope
from refmodel.specification import MOST_LAYERS, ModelConfig

_DEFAULTS: Final[dict[str, Any]] = {
    **DEFAULTS, "vocab_size": 248_320, "num_hidden_layers": 40, "num_experts": 256, "num_experts_per_tok": 8,
    "intermediate_size": 0,
}  # fmt: skip


def _from_text(name: str, fields: Fields) -> ModelConfig:
    n_layers = fields.within("num_hidden_layers", 1, MOST_LAYERS, kind=int)
    fields.require("norm_topk_prob", True)
    return read_config(name, fields, n_layers * (experts_of(fields),))


def _from_config(name: str, fields: Fields) -> ModelConfig:
    return _from_text(name, text_part(fields, _DEFAULTS))


def _to_config(config: ModelConfig) -> dict[str, Any]:
    """Of the text model alone, without pictures."""
    return written_hybrid(config, "qwen3_5_moe_text", "Qwen3_5MoeForCausalLM")


FAMILY: Final = Family(
    "qwen3_5_moe", _from_config, "qwen35moe", read_header, gguf_names=RENAMED, tiles_value_heads=True,
    to_config=_to_config,
)  # fmt: skip
TEXT: Final = Family("qwen3_5_moe_text", _from_text, defaults=_DEFAULTS, to_config=_to_config)

PRESETS: Final = (
    hybrid(
        "qwen3.5-35b-a3b", every(40, 4), Heads(16, 2, 256, 2048), GatedDelta(),
        40 * (Experts(256, 8, 512, d_shared=512),), vocab_size=248_320,
        rope=Rope(1e7, share=0.25), max_positions=262_144, headline_params=3_000_000_000,
    ),
)  # fmt: skip
TINY: Final = hybrid(
    "tiny-hybrid", every(4, 4), Heads(6, 2, 16, 48), GatedDelta(2, 4, 8, 12), 4 * (Experts(11, 3, 40, d_shared=20),),
    vocab_size=257, rope=Rope(share=0.25),
)  # fmt: skip
