"""What the hybrids Qwen3-Next and Qwen3.5 share: three Gated DeltaNet layers to one of gated attention (2412.06464)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from attention.cost import Heads
from attention.full import Full
from attention.gated_delta import GatedDelta
from refmodel.families import gguf_fields
from refmodel.families.config_fields import FULL, SWIGLU_DEFAULTS, sizes
from refmodel.families.config_written import experts_of as experts_in
from refmodel.families.config_written import written_swiglu
from refmodel.families.family import GgufHeader
from refmodel.families.positions import Positions, positions
from refmodel.fields import Fields
from refmodel.layer_spec import MOST_OF_HEADS, MOST_SIZE, LayerSpec
from refmodel.parts import Experts, FeedForward, Norm, Rope
from refmodel.specification import MOST_LAYERS, ModelConfig
from refmodel.words import brief

LINEAR: Final = "linear_attention"
DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType({
    **SWIGLU_DEFAULTS, "max_position_embeddings": 32_768, "num_attention_heads": 16, "num_key_value_heads": 2,
    "head_dim": 256, "hidden_size": 2048, "attention_bias": False, "partial_rotary_factor": 0.25,
    "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "norm_topk_prob": True,
})  # fmt: skip
"""What both configuration classes mean by a field that a file leaves out."""

RENAMED: Final[Mapping[str, str]] = MappingProxyType({"ffn_norm.scale": "blk.{layer}.post_attention_norm.weight"})
"""Parameters that GGUF files call otherwise than those of other families."""

_OF_PICTURES: Final = ("mrope_section", "mrope_interleaved")  # three positions a token, which text has all alike


def hybrid(
    name: str, attends: Sequence[bool], heads: Heads, delta: GatedDelta, feed_forwards: Sequence[FeedForward], *,
    vocab_size: int, rope: Rope, norm_eps: float = 1e-6, **outside: Any,
) -> ModelConfig:  # fmt: skip
    """A model of `delta` layers and of gated full attention in the layers that attend; `outside` as `ModelConfig`'s."""
    norm = Norm(norm_eps, offset=1.0)
    layers = tuple(
        LayerSpec(Full() if full else delta, heads, feed_forward, norm, rope, gated=True)
        for full, feed_forward in zip(attends, feed_forwards, strict=True)
    )
    return ModelConfig(name, layers, heads.d_model, vocab_size, final_norm=norm, **outside)


def read_config(name: str, fields: Fields, feed_forwards: Sequence[FeedForward]) -> ModelConfig:
    """The model of a config.json's text part."""
    found = sizes(fields)
    fields.require("attn_output_gate", True)
    heads = Heads(found["n_heads"], found["n_kv_heads"], found["head_dim"], found["d_model"])
    rope, why_not = _positions(fields, heads.head_dim)
    others = fields.objection("hidden_act", "silu"), fields.objection("attention_bias", False)
    delta = GatedDelta(*(
        _size(fields, f"linear_{key}")
        for key in ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim", "conv_kernel_dim")
    ))  # fmt: skip
    return hybrid(
        name, _attends(fields, found["n_layers"]), heads, delta, feed_forwards, vocab_size=found["vocab_size"],
        rope=rope, norm_eps=found["norm_eps"], tied_head=found["tied_head"], max_positions=found["max_positions"],
        cannot_run=next(filter(None, (*others, why_not)), ""),
    )  # fmt: skip


def written_hybrid(config: ModelConfig, model_type: str, architecture: str) -> dict[str, Any]:
    """The fields of a hybrid's config.json.  Raises `ValueError` where it has no `delta` layer or no experts."""
    experts = experts_in(config)
    delta = next((mixer for mixer in config.layout if isinstance(mixer, GatedDelta)), None)
    if delta is None:
        raise ValueError(f"{config.name} has no delta layer")
    return {
        **written_swiglu(config, model_type, architecture), "partial_rotary_factor": config.layers[0].rope.share,
        "layer_types": [LINEAR if isinstance(layer.mixer, GatedDelta) else FULL for layer in config.layers],
        "linear_num_key_heads": delta.key_heads, "linear_num_value_heads": delta.value_heads,
        "linear_key_head_dim": delta.key_dim, "linear_value_head_dim": delta.value_dim,
        "linear_conv_kernel_dim": delta.conv, "num_experts": experts.n_experts,
        "num_experts_per_tok": experts.experts_per_token, "moe_intermediate_size": experts.d_expert,
        "shared_expert_intermediate_size": experts.d_shared, "norm_topk_prob": experts.norm_topk_prob,
    }  # fmt: skip


def experts_of(fields: Fields) -> Experts:
    """The experts of a config.json, and the shared one."""
    return Experts(
        fields.get("num_experts", int), fields.get("num_experts_per_tok", int),
        fields.get("moe_intermediate_size", int), fields.get("norm_topk_prob", bool),
        d_shared=fields.within("shared_expert_intermediate_size", 0, MOST_SIZE, kind=int),
    )  # fmt: skip


def _attends(fields: Fields, n_layers: int) -> list[bool]:
    """Which layers do: those that `layer_types` says, or every `full_attention_interval`-th."""
    kinds = fields.get("layer_types", list, None)
    if kinds is None:
        interval = fields.within("full_attention_interval", 1, MOST_LAYERS, kind=int)
        return every(n_layers, interval)
    if len(kinds) != n_layers:
        raise ValueError(f"{fields.where}: layer_types holds {len(kinds)} entries for {n_layers} layers")
    for kind in kinds:
        if kind not in (FULL, LINEAR):
            raise ValueError(f"{fields.where}: layer_types holds {brief(kind)}; accepted: {FULL}, {LINEAR}")
    return [kind == FULL for kind in kinds]


def every(n_layers: int, interval: int) -> list[bool]:
    """Whether each layer is the last one of `interval`."""
    return [(layer + 1) % interval == 0 for layer in range(n_layers)]


def _positions(fields: Fields, head_dim: int) -> Positions:
    """Of the share of a head that is rotated, which is read as if it were the head."""
    key = "rope_scaling" if fields.values.get("rope_scaling") else "rope_parameters"
    group = Fields(fields.get(key, dict, {}), f"{fields.where}: {key}")
    share = group.within("partial_rotary_factor", 0, 1, fields.within("partial_rotary_factor", 0, 1))
    left = {name: value for name, value in group.values.items() if name not in ("partial_rotary_factor", *_OF_PICTURES)}
    plain = Fields({**fields.values, key: left, "partial_rotary_factor": None}, fields.where)
    return partly(positions(plain, rotated_of(share, head_dim, fields.where)), share)


def rotated_of(share: float, head_dim: int, where: str) -> int:
    """Dimensions of a head that are rotated.  Raises `ValueError` where they make no pairs."""
    rotated = Rope(share=share).rotated(head_dim)
    if rotated < 2 or rotated % 2:
        raise ValueError(
            f"{where}: partial_rotary_factor {share} of head_dim {head_dim} rotates no pairs of dimensions"
        )
    return rotated


def partly(found: Positions, share: float) -> Positions:
    """The same positions, of a share of a head."""
    return found._replace(rope=dataclasses.replace(found.rope, share=share))


def read_header(header: GgufHeader) -> ModelConfig:
    """The model of a GGUF file."""
    own = header.fields
    head_dim = own.get("attention.key_length", int)
    rotated = own.within("rope.dimension_count", 2, max(head_dim, 2), kind=int)
    found = gguf_fields.sizes(header, rotated)
    share = rotated / head_dim
    if Rope(share=share).rotated(head_dim) < rotated:  # the quotient was rounded down
        share = math.nextafter(share, 1)
    rotated_of(share, head_dim, f"{own.where}: rope.dimension_count {rotated}")
    heads = Heads(found["n_heads"], found["n_kv_heads"], head_dim, found["d_model"])
    value_heads, inner = _size(own, "ssm.time_step_rank"), _size(own, "ssm.inner_size")
    if inner % value_heads:
        raise ValueError(f"{own.where}: ssm.inner_size {inner} is no multiple of ssm.time_step_rank {value_heads}")
    delta = GatedDelta(
        _size(own, "ssm.group_count"), value_heads, _size(own, "ssm.state_size"),
        inner // value_heads, _size(own, "ssm.conv_kernel"),
    )  # fmt: skip
    experts = Experts(
        own.get("expert_count", int), own.get("expert_used_count", int), own.get("expert_feed_forward_length", int),
        own.get("expert_weights_norm", bool, True),
        d_shared=own.get("expert_shared_feed_forward_length", int),
    )  # fmt: skip
    n_layers = found["n_layers"]
    attends = every(n_layers, own.within("full_attention_interval", 1, MOST_LAYERS, 4, int))
    return hybrid(
        header.name, attends, heads, delta, (experts,) * n_layers, vocab_size=found["vocab_size"],
        rope=dataclasses.replace(found["rope"], share=share), norm_eps=found["norm_eps"],
        tied_head=found["tied_head"], max_positions=found["max_positions"], cannot_run=found["cannot_run"],
    )  # fmt: skip


def _size(fields: Fields, key: str) -> int:
    found: int = fields.within(key, 1, MOST_OF_HEADS, kind=int)
    return found
