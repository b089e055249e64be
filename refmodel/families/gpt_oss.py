"""gpt-oss (2508.10925): a window in every other layer, learned sinks, biases, experts whose gate is clamped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from attention.layout import Layout
from refmodel.decoder import decoder
from refmodel.families import gguf_fields
from refmodel.families.config_fields import FULL, SLIDING, checked_kinds, layout_of, swiglu_sizes
from refmodel.families.config_written import experts_of, rope_of, written_kind, written_layer_types, written_swiglu
from refmodel.families.family import Family, GgufHeader
from refmodel.fields import Fields
from refmodel.parts import ClampedSwish, Experts, Rope
from refmodel.rope_scaling import Yarn, yarn_attention
from refmodel.specification import ModelConfig

_DEFAULTS: Final[Mapping[str, Any]] = {
    "num_hidden_layers": 36, "num_local_experts": 128, "vocab_size": 201_088, "hidden_size": 2880,
    "intermediate_size": 2880, "head_dim": 64, "num_attention_heads": 64, "num_key_value_heads": 8,
    "sliding_window": 128, "tie_word_embeddings": False, "hidden_act": "silu", "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5, "num_experts_per_tok": 4, "swiglu_alpha": 1.702, "swiglu_limit": 7.0,
    "attention_bias": True, "rope_theta": 150_000.0,
}  # fmt: skip
_YARN: Final[Mapping[str, Any]] = {
    "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
    "original_max_position_embeddings": 4096,
}  # fmt: skip
"""Positions where a file says nothing of them."""
_SOFTMAX_OF_CHOSEN: Final = 3  # llama.cpp's number


def _gpt_oss(name: str, experts: Experts, **sizes: Any) -> ModelConfig:
    """Of the arguments of `decoder` that are not the experts'."""
    plain = decoder(name, d_ff=experts.d_expert, qk_norm=False, **sizes)
    return plain.with_each_layer(sink_logits=True, feed_forward=experts)


def _every_other(n_layers: int, window: int) -> Layout:
    """Starting with a window."""
    return layout_of([FULL if layer % 2 else SLIDING for layer in range(n_layers)], window)


def _from_config(name: str, fields: Fields) -> ModelConfig:
    if not (fields.values.get("rope_scaling") or fields.values.get("rope_parameters")):
        fields = Fields({**fields.values, "rope_parameters": _YARN}, fields.where)
    found = swiglu_sizes(fields)
    kinds = checked_kinds(fields, found["n_layers"], lambda layer: layer % 2 == 1)
    alias = "num_experts" if fields.values.get("num_experts") is not None else "num_local_experts"
    experts = Experts(
        fields.get(alias, int), fields.get("num_experts_per_tok", int), found.pop("d_ff"), bias=True,
        activation=ClampedSwish(fields.above_0("swiglu_alpha"), fields.above_0("swiglu_limit")),
    )  # fmt: skip
    return _gpt_oss(name, experts, **found, layout=layout_of(kinds, fields.get("sliding_window", int)))


def _to_config(config: ModelConfig) -> dict[str, Any]:
    experts, windows = experts_of(config), written_layer_types(config)
    if not isinstance(experts.activation, ClampedSwish):
        raise ValueError(f"{config.name} has experts without a clamp")
    return {
        **written_swiglu(config, "gpt_oss", "GptOssForCausalLM"), "num_local_experts": experts.n_experts,
        "num_experts_per_tok": experts.experts_per_token, "swiglu_alpha": experts.activation.slope,
        "swiglu_limit": experts.activation.limit, **windows,
        "sliding_window": windows["sliding_window"] or _DEFAULTS["sliding_window"],
        "rope_scaling": written_kind(rope_of(config)),  # never null, which stands for YaRN
    }  # fmt: skip


def _from_header(header: GgufHeader) -> ModelConfig:
    """llama.cpp's converter keeps neither the clamp nor that YaRN's line ends between frequencies."""
    own, found = header.fields, gguf_fields.sizes(header)
    own.require("expert_shared_count", 0)
    own.require("expert_gating_func", _SOFTMAX_OF_CHOSEN)
    own.require("expert_weights_scale", 1.0)
    own.require("swiglu_clamp_exp", [ClampedSwish().limit] * found["n_layers"])
    rope: Rope = found["rope"]
    if isinstance(rope.scaling, Yarn):
        found["rope"] = dataclasses.replace(rope, scaling=dataclasses.replace(rope.scaling, truncate=False))
    experts = Experts(
        own.get("expert_count", int), own.get("expert_used_count", int), own.get("expert_feed_forward_length", int),
        activation=ClampedSwish(), bias=True,
    )  # fmt: skip
    layout = _every_other(found["n_layers"], own.get("attention.sliding_window", int))
    return _gpt_oss(found.pop("name"), experts, **found, layout=layout)


FAMILY: Final = Family(
    "gpt_oss", _from_config, "gpt-oss", _from_header, defaults=_DEFAULTS, experts_in_turns=True,
    to_config=_to_config,
    hf_names={"ffn.router": "model.layers.{layer}.mlp.router.weight"},
    gguf_names={"ffn_norm.scale": "blk.{layer}.post_attention_norm.weight"},
)  # fmt: skip


def _preset(size: str, n_layers: int, n_experts: int, headline: int) -> ModelConfig:
    return _gpt_oss(
        f"gpt-oss-{size}", Experts(n_experts, 4, 2880, activation=ClampedSwish(), bias=True), n_layers=n_layers,
        d_model=2880, n_heads=64, n_kv_heads=8, head_dim=64, vocab_size=201_088, attention_bias="qkvo", norm_eps=1e-5,
        rope=Rope(150_000.0, Yarn(32.0, 4096, yarn_attention(32.0), truncate=False)), max_positions=131_072,
        layout=_every_other(n_layers, 128), headline_params=headline,
    )  # fmt: skip


PRESETS: Final = (_preset("20b", 24, 32, 3_600_000_000), _preset("120b", 36, 128, 5_100_000_000))
