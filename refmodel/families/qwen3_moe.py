"""Qwen3-MoE (2505.09388): Qwen3 with a mixture of experts in every layer, or in some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from refmodel.decoder import decoder
from refmodel.families.config_fields import FULL, SLIDING, SWIGLU_DEFAULTS, layout_of, swiglu_sizes, whole_numbers
from refmodel.families.config_written import dense_layers, experts_of, window_of, written_swiglu
from refmodel.families.family import Family, GgufHeader
from refmodel.families.gguf_fields import full_attention_sizes
from refmodel.fields import Fields
from refmodel.parts import Rope
from refmodel.specification import ModelConfig

_DEFAULTS: Final[Mapping[str, Any]] = {
    **SWIGLU_DEFAULTS, "max_position_embeddings": 32_768, "num_key_value_heads": 4, "attention_bias": False,
    "use_sliding_window": False, "sliding_window": 4096, "norm_topk_prob": False, "decoder_sparse_step": 1,
}  # fmt: skip


def _from_config(name: str, fields: Fields) -> ModelConfig:
    found = swiglu_sizes(fields)
    slides = fields.get("use_sliding_window", bool)
    window = fields.get("sliding_window", int, None) if slides else None
    kinds = [FULL if window is None else SLIDING] * found["n_layers"]
    return decoder(name, **found, **_experts(fields), layout=layout_of(kinds, window))


def _experts(fields: Fields) -> dict[str, Any]:
    experts = fields.get("num_experts", int, None)
    return {
        "n_experts": fields.get("num_local_experts", int) if experts is None else experts,
        "experts_per_token": fields.get("num_experts_per_tok", int),
        "d_expert": fields.get("moe_intermediate_size", int),
        "norm_topk_prob": fields.get("norm_topk_prob", bool),
        "mlp_only_layers": whole_numbers(fields, "mlp_only_layers"),
        "decoder_sparse_step": fields.get("decoder_sparse_step", int),
    }


def _to_config(config: ModelConfig) -> dict[str, Any]:
    experts, window = experts_of(config), window_of(config)
    return {
        **written_swiglu(config, "qwen3_moe", "Qwen3MoeForCausalLM"), "num_experts": experts.n_experts,
        "num_experts_per_tok": experts.experts_per_token, "moe_intermediate_size": experts.d_expert,
        "norm_topk_prob": experts.norm_topk_prob, "mlp_only_layers": dense_layers(config), "decoder_sparse_step": 1,
        "use_sliding_window": window is not None, "sliding_window": window,
    }  # fmt: skip


def _from_header(header: GgufHeader) -> ModelConfig:
    own = header.fields
    own.require("expert_shared_count", 0)
    return decoder(
        **full_attention_sizes(header),
        n_experts=own.get("expert_count", int),
        experts_per_token=own.get("expert_used_count", int),
        d_expert=own.get("expert_feed_forward_length", int),
        norm_topk_prob=own.get("expert_weights_norm", bool, True),
    )


FAMILY: Final = Family("qwen3_moe", _from_config, "qwen3moe", _from_header, defaults=_DEFAULTS, to_config=_to_config)


def _qwen3_moe(name: str, n_layers: int, d_model: int, n_heads: int, d_expert: int, headline: int) -> ModelConfig:
    return decoder(
        name, n_layers, d_model, n_heads, n_kv_heads=4, head_dim=128, vocab_size=151_936, n_experts=128,
        experts_per_token=8, d_expert=d_expert, rope=Rope(1e6), headline_params=headline,
    )  # fmt: skip


PRESETS: Final = (
    _qwen3_moe("qwen3-30b-a3b", 48, 2048, 32, 768, headline=3_300_000_000),
    _qwen3_moe("qwen3-235b-a22b", 94, 4096, 64, 1536, headline=22_000_000_000),
)
