"""Qwen3-Next: Gated DeltaNet and gated attention, experts of which one is shared, norms by 1 + w."""

from __future__ import annotations

from typing import Any, Final

from attention.cost import Heads
from attention.gated_delta import GatedDelta
from refmodel.families.config_fields import whole_numbers
from refmodel.families.config_written import dense_layers
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
from refmodel.parts import Dense, Experts, FeedForward, Rope
from refmodel.specification import MOST_LAYERS, ModelConfig

_DEFAULTS: Final[dict[str, Any]] = {
    **DEFAULTS, "vocab_size": 151_936, "num_hidden_layers": 48, "intermediate_size": 5632, "num_experts": 512,
    "num_experts_per_tok": 10, "decoder_sparse_step": 1,
}  # fmt: skip


def _from_config(name: str, fields: Fields) -> ModelConfig:
    n_layers = fields.within("num_hidden_layers", 1, MOST_LAYERS, kind=int)
    step = fields.within("decoder_sparse_step", 1, MOST_LAYERS, kind=int)
    dense_layers = whole_numbers(fields, "mlp_only_layers")
    experts, dense = experts_of(fields), Dense(fields.get("intermediate_size", int))
    forward: list[FeedForward] = [
        experts if sparse and layer not in dense_layers else dense for layer, sparse in enumerate(every(n_layers, step))
    ]
    return read_config(name, fields, forward)


def _to_config(config: ModelConfig) -> dict[str, Any]:
    found = written_hybrid(config, "qwen3_next", "Qwen3NextForCausalLM")
    return {**found, "mlp_only_layers": dense_layers(config), "decoder_sparse_step": 1}


FAMILY: Final = Family(
    "qwen3_next", _from_config, "qwen3next", read_header, defaults=_DEFAULTS, gguf_names=RENAMED, to_config=_to_config,
    fused=("linear_attn.in_proj_qkvz.weight", "linear_attn.in_proj_ba.weight"),
)  # fmt: skip

PRESETS: Final = (
    hybrid(
        "qwen3-next-80b-a3b", every(48, 4), Heads(16, 2, 256, 2048), GatedDelta(),
        48 * (Experts(512, 10, 512, d_shared=512),), vocab_size=151_936,
        rope=Rope(1e7, share=0.25), max_positions=262_144, headline_params=3_000_000_000,
    ),
)  # fmt: skip
