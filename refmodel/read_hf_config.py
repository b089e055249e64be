"""A `ModelConfig` from the config.json of a Hugging Face checkpoint."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attention.full import Full
from attention.layout import Layout
from attention.sliding_window import SlidingWindow
from refmodel.config import ModelConfig
from refmodel.fields import Fields

_FAMILIES: Final = ("qwen3_moe", "qwen3", "llama", "mistral")
_ROPE_KEYS: Final = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_LAYER_TYPES: Final = ("full_attention", "sliding_attention")


def from_hf(config: Mapping[str, Any] | str | Path) -> ModelConfig:
    """The shape that a config.json describes: `config` is its path or its content.

    Windows count keys, the query's own included, there as here.  Raises `ValueError` naming the field for a model
    that this project does not compute: another family, scaled positions, biases, another activation.
    """
    name, fields = _open(config)
    family = fields.choice("model_type", *_FAMILIES)
    fields.require("hidden_act", "silu")
    for bias in ("attention_bias", "mlp_bias"):
        fields.require(bias, False)
    n_layers, d_model, n_heads = (
        fields.get(key, int) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")
    )
    read = ModelConfig(
        name=name,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=fields.get("num_key_value_heads", int, n_heads),
        head_dim=fields.get("head_dim", int, d_model // max(n_heads, 1)),
        vocab_size=fields.get("vocab_size", int),
        d_ff=fields.get("intermediate_size", int),
        qk_norm=family.startswith("qwen3"),
        tied_head=fields.get("tie_word_embeddings", bool, False),
        rope_theta=_rope_theta(fields),
        norm_eps=fields.get("rms_norm_eps", float),
        max_positions=fields.get("max_position_embeddings", int),
        layout=_layout(fields, family, n_layers),
        **(_experts(fields) if family == "qwen3_moe" else {}),
    )
    # Qwen3-MoE files give a dense width even where no layer is dense.
    return read if "dense" in read.block_kinds else dataclasses.replace(read, d_ff=0)


def _open(config: Mapping[str, Any] | str | Path) -> tuple[str, Fields]:
    if isinstance(config, Mapping):
        return str(config.get("model_type")), Fields(config, "config")
    path = Path(config)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable config.json ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a config.json holds an object, got {type(values).__name__}")
    return path.absolute().parent.name, Fields(values, str(path))


def _experts(fields: Fields) -> dict[str, Any]:
    experts = fields.get("num_experts", int, None)
    return {
        "n_experts": fields.get("num_local_experts", int) if experts is None else experts,
        "experts_per_token": fields.get("num_experts_per_tok", int),
        "d_expert": fields.get("moe_intermediate_size", int),
        "norm_topk_prob": fields.get("norm_topk_prob", bool, False),
        "mlp_only_layers": tuple(fields.get("mlp_only_layers", list, ())),
        "decoder_sparse_step": fields.get("decoder_sparse_step", int, 1),
    }


def _rope_theta(fields: Fields) -> float:
    """The base of the rotary angles: a field of its own in older files, inside `rope_parameters` in newer ones."""
    fields.require("partial_rotary_factor", 1)
    theta = fields.get("rope_theta", float, 10_000.0)
    for group in ("rope_scaling", "rope_parameters"):
        rope = Fields(fields.get(group, dict, {}), f"{fields.where}: {group}")
        for key in ("rope_type", "type"):
            rope.require(key, "default")
        rope.require("partial_rotary_factor", 1)
        if unknown := sorted(rope.values.keys() - _ROPE_KEYS):
            raise ValueError(f"{rope.where} holds {unknown[0]}; accepted: {', '.join(sorted(_ROPE_KEYS))}")
        theta = rope.get("rope_theta", float, theta)
    return theta


def _layout(fields: Fields, family: str, n_layers: int) -> Layout:
    """Llama never slides, Mistral on every layer, Qwen3 only if told to: MoE everywhere, dense where it says."""
    if family == "mistral" and "sliding_window" not in fields.values:
        raise ValueError(f"{fields.where}: sliding_window is missing (null means none)")
    slides = family == "mistral" or (family != "llama" and fields.get("use_sliding_window", bool, False))
    window = fields.get("sliding_window", int, None) if slides else None
    variants = dict(zip(_LAYER_TYPES, (Full(), Full() if window is None else SlidingWindow(window)), strict=True))
    return tuple(variants[kind] for kind in _layer_types(fields, family, n_layers, window is not None))


def _layer_types(fields: Fields, family: str, n_layers: int, slides: bool) -> list[str]:
    full, sliding = _LAYER_TYPES
    if family != "qwen3":
        return [sliding if slides else full] * n_layers
    first = fields.get("max_window_layers", int, n_layers) if slides else n_layers
    kinds = fields.get("layer_types", list, [full if layer < first else sliding for layer in range(n_layers)])
    for kind in kinds:
        if kind not in _LAYER_TYPES or (kind == sliding and not slides):
            accepted = ", ".join(_LAYER_TYPES if slides else _LAYER_TYPES[:1])
            raise ValueError(f"{fields.where}: layer_types holds {kind!r}; accepted: {accepted}")
    return kinds
