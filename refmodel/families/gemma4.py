"""Gemma 4, the text model: wider heads in the global layers, whose values may be the keys' projection, and experts.

Keys are normed with a scale and rotated, values normed without and not rotated: the cache holds both.  A dense
feed-forward runs beside experts, and what a layer puts out is multiplied with a learned number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from attention.cost import Heads
from attention.layout import Layout
from attention.sliding_window import SlidingWindow
from refmodel.families import config_fields, gemma4_header
from refmodel.families.config_fields import FULL, SLIDING, checked_kinds, layout_of, text_part
from refmodel.families.config_written import slides, window_of, written_kind, written_layer_types, written_sizes
from refmodel.families.family import Family, GgufHeader
from refmodel.families.gemma3 import CYCLE, local_global
from refmodel.families.positions import Positions, positions_of
from refmodel.fields import Fields
from refmodel.layer_spec import LayerSpec
from refmodel.parts import Dense, Experts, FeedForward, Norm, Rope
from refmodel.rope_scaling import Proportional
from refmodel.specification import ModelConfig

Sizes = tuple[int, int, int]
"""N, K and H."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    "num_key_value_heads": 4, "head_dim": 256, "rms_norm_eps": 1e-6, "max_position_embeddings": 131_072,
    "sliding_window": 512, "tie_word_embeddings": True, "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": False, "attention_k_eq_v": False, "num_kv_shared_layers": 0, "hidden_size_per_layer_input": 256,
    "enable_moe_block": False,
}  # fmt: skip
_GLOBAL_HEAD_DIM: Final = 512  # where a file says neither this nor `per_layer_config`
_POSITIONS: Final[Mapping[str, Any]] = {
    SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
    FULL: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
}


def gemma4(
    name: str, d_model: int, local: Sizes, world: Sizes, layout: Layout, feed_forward: FeedForward, *,
    vocab_size: int, values_are_keys: bool, local_rope: Rope, world_rope: Rope, norm_eps: float = 1e-6,
    attention_bias: str = "", **outside: Any,
) -> ModelConfig:  # fmt: skip
    """Layers of (N, K, H) heads, `local` and `local_rope` those with a window, `world` the others, whose values are
    keys where `values_are_keys`; `outside` as `ModelConfig`'s."""
    norm = Norm(norm_eps, after=True, wide=True)
    shared = LayerSpec(
        None, Heads(*local, d_model), feed_forward, norm, local_rope, attention_bias=attention_bias,
        softmax_scale=1.0, value_norm=True, out_scale=True,
    )  # fmt: skip
    sees_all = dataclasses.replace(
        shared, heads=Heads(*world, d_model), rope=world_rope, value_is_key=values_are_keys,
        attention_bias=attention_bias.replace("v", "") if values_are_keys else attention_bias,
        stack=f"global_{feed_forward.kind}",
    )  # fmt: skip
    layers = tuple((shared if isinstance(one, SlidingWindow) else sees_all).with_mixer(one) for one in layout)
    return ModelConfig(
        name, layers, d_model, vocab_size, final_norm=norm, embedding_scale=d_model**0.5, **outside
    )  # fmt: skip


def _from_text(name: str, fields: Fields) -> ModelConfig:
    fields.require("use_bidirectional_attention", "vision")  # which is of tokens of pictures alone
    for key in ("num_kv_shared_layers", "hidden_size_per_layer_input"):
        fields.require(key, 0)
    found = config_fields.sizes(Fields({**fields.values, "use_bidirectional_attention": None}, fields.where))
    kinds = checked_kinds(fields, found["n_layers"], lambda layer: (layer + 1) % CYCLE == 0)
    kinds = [*kinds[:-1], FULL]  # as transformers has it, whatever the file says
    keys = fields.get("attention_k_eq_v", bool)
    local, world = (found["n_heads"], found["n_kv_heads"], found["head_dim"]), _world(fields, kinds, found, keys)
    local_rope, world_rope = (_positions(fields, kind, h) for kind, (_, _, h) in ((SLIDING, local), (FULL, world)))
    capped = fields.values.get("final_logit_softcapping") is not None
    others = fields.objection("hidden_activation", "gelu_pytorch_tanh"), local_rope.cannot_run, world_rope.cannot_run
    return gemma4(
        name, found["d_model"], local, world, layout_of(kinds, fields.get("sliding_window", int)),
        _feed_forward(fields, found["d_ff"]), vocab_size=found["vocab_size"], values_are_keys=keys,
        local_rope=local_rope.rope, world_rope=world_rope.rope, norm_eps=found["norm_eps"],
        attention_bias="qkvo" if fields.get("attention_bias", bool) else "", tied_head=found["tied_head"],
        logit_cap=fields.above_0("final_logit_softcapping") if capped else None,
        max_positions=found["max_positions"], cannot_run=next(filter(None, others), ""),
    )  # fmt: skip


def _world(fields: Fields, kinds: list[str], found: Mapping[str, Any], values_are_keys: bool) -> Sizes:
    """Of the layers that see all: in fields of their own, or as transformers saves them, `per_layer_config`."""
    each = fields.get("per_layer_config", dict, None)
    n, k = found["n_heads"], found["n_kv_heads"]
    if each is None:
        own = fields.get("num_global_key_value_heads", int, k) if values_are_keys else k
        return n, own, fields.get("global_head_dim", int, _GLOBAL_HEAD_DIM)
    world = {str(layer) for layer, kind in enumerate(kinds) if kind == FULL}
    group = Fields(each, f"{fields.where}: per_layer_config")
    told = [Fields(group.get(layer, dict), f"{group.where}: {layer}") for layer in each]
    for one in told:
        one.refuse_others(("head_dim", "num_key_value_heads"))
    sizes = {(n, one.get("num_key_value_heads", int, k), one.get("head_dim", int, found["head_dim"])) for one in told}
    if each.keys() != world or len(sizes) != 1:
        raise ValueError(f"{group.where} must hold the same sizes for the layers of {FULL}, and for no others")
    return sizes.pop()


def _positions(fields: Fields, kind: str, head_dim: int) -> Positions:
    def own() -> Mapping[str, Any]:
        group = Fields(fields.get("rope_parameters", dict, _POSITIONS), f"{fields.where}: rope_parameters")
        group.refuse_others((SLIDING, FULL))
        return group.get(kind, dict)

    return positions_of(fields, own, f"positions of {kind}", head_dim)


def _feed_forward(fields: Fields, d_ff: int) -> FeedForward:
    dense = Dense(d_ff, "gelu_tanh")
    if not fields.get("enable_moe_block", bool):
        return dense
    return Experts(
        fields.get("num_experts", int), fields.get("top_k_experts", int), fields.get("moe_intermediate_size", int),
        activation="gelu_tanh", beside=dense,
    )  # fmt: skip


def _from_config(name: str, fields: Fields) -> ModelConfig:
    return _from_text(name, text_part(fields, _DEFAULTS))


def _to_config(config: ModelConfig) -> dict[str, Any]:
    """Of the text model alone, without what sees and hears."""
    world = config.layers[-1]
    local = next((layer for layer in config.layers if slides(layer)), world)
    n_keys = world.heads.n_kv_heads if world.value_is_key else None
    sizes = written_sizes(config, "gemma4_text", "Gemma4ForCausalLM")
    kinds = {SLIDING: local, FULL: world}
    return {
        **sizes, "hidden_activation": "gelu_pytorch_tanh", **written_layer_types(config),
        "sliding_window": window_of(config) or _DEFAULTS["sliding_window"],
        "num_key_value_heads": local.heads.n_kv_heads, "head_dim": local.heads.head_dim,
        "attention_bias": bool(local.attention_bias), "attention_k_eq_v": world.value_is_key,
        "global_head_dim": world.heads.head_dim, "num_global_key_value_heads": n_keys, "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 0, "final_logit_softcapping": config.logit_cap,
        "rope_parameters": {kind: written_kind(one.rope, one.heads.head_dim) for kind, one in kinds.items()},
        **_written_experts(local.feed_forward),
    }  # fmt: skip


def _written_experts(feed_forward: FeedForward) -> dict[str, Any]:
    if not isinstance(feed_forward, Experts):
        return {"enable_moe_block": False}
    return {
        "enable_moe_block": True, "num_experts": feed_forward.n_experts,
        "top_k_experts": feed_forward.experts_per_token, "moe_intermediate_size": feed_forward.d_expert,
        "intermediate_size": feed_forward.beside.d_ff if feed_forward.beside else 0,
    }  # fmt: skip


def _from_header(header: GgufHeader) -> ModelConfig:
    return gemma4(**gemma4_header.arguments(header))


_FUSED: Final = ("experts.gate_up_proj",)
FAMILY: Final = Family("gemma4", _from_config, "gemma4", _from_header, fused=_FUSED, to_config=_to_config)
TEXT: Final = Family("gemma4_text", _from_text, defaults=_DEFAULTS, fused=_FUSED, to_config=_to_config)


def _preset(
    name: str, n_layers: int, d: int, local: Sizes, world: Sizes, forward: FeedForward, **more: Any
) -> ModelConfig:
    return gemma4(
        name, d, local, world, local_global(n_layers, 1024), forward, vocab_size=262_144, values_are_keys=True,
        local_rope=Rope(10_000.0), world_rope=Rope(1_000_000.0, Proportional(world[2] // 8)), tied_head=True,
        logit_cap=30.0, max_positions=262_144, **more,
    )  # fmt: skip


PRESETS: Final = (
    _preset(
        "gemma4-26b-a4b", 30, 2816, (16, 8, 256), (16, 2, 512),
        Experts(128, 8, 704, activation="gelu_tanh", beside=Dense(2112, "gelu_tanh")),
        headline_params=4_000_000_000,
    ),
    _preset(
        "gemma4-31b", 60, 5376, (32, 16, 256), (32, 4, 512), Dense(21_504, "gelu_tanh"),
        note="feed-forward width assumed to be gemma3-27b's, which gives 30.7e9 parameters",
    ),
)  # fmt: skip
