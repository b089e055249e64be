"""A `ModelConfig` from the metadata of a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf import GGUFReader

from refmodel.config import ModelConfig
from refmodel.fields import Fields
from refmodel.open_gguf import metadata, open_gguf, path_of

_ARCHITECTURES: Final = ("llama", "qwen3", "qwen3moe")
_EMBEDDING: Final = "token_embd.weight"


def from_gguf(source: str | Path | GGUFReader) -> ModelConfig:
    """The shape that a GGUF file describes.

    The vocabulary is counted on the embedding, and the head is tied if the file has no `output.weight`.  Raises
    `ValueError` naming the field for a model that this project does not compute.
    """
    reader = open_gguf(source)
    fields = metadata(reader)
    arch = fields.choice("general.architecture", *_ARCHITECTURES)
    own_values = {key.removeprefix(f"{arch}."): value for key, value in fields.values.items()}
    own = Fields(own_values, f"{fields.where}: {arch}")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if _EMBEDDING not in tensors:
        raise ValueError(f"{fields.where}: {_EMBEDDING} is missing")
    d_model, n_heads = own.get("embedding_length", int), own.get("attention.head_count", int)
    head_dim = own.get("attention.key_length", int, d_model // max(n_heads, 1))
    _refuse_other_attention(own, head_dim)
    return ModelConfig(
        name=fields.get("general.name", str, path_of(reader).stem),
        n_layers=own.get("block_count", int),
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=own.get("attention.head_count_kv", int, n_heads),
        head_dim=head_dim,
        vocab_size=int(tensors[_EMBEDDING].shape[-1]),
        qk_norm=arch != "llama",
        tied_head="output.weight" not in tensors,
        rope_theta=_decimal(own.get("rope.freq_base", float, 10_000.0)),
        norm_eps=_decimal(own.get("attention.layer_norm_rms_epsilon", float)),
        max_positions=own.get("context_length", int),
        **_feed_forward(own, arch),
    )


def _feed_forward(own: Fields, arch: str) -> dict[str, Any]:
    if arch != "qwen3moe":
        own.require("expert_count", 0)
        return {"d_ff": own.get("feed_forward_length", int)}
    own.require("expert_shared_count", 0)
    return {
        "n_experts": own.get("expert_count", int),
        "experts_per_token": own.get("expert_used_count", int),
        "d_expert": own.get("expert_feed_forward_length", int),
        "norm_topk_prob": own.get("expert_weights_norm", bool, True),
    }


def _refuse_other_attention(own: Fields, head_dim: int) -> None:
    own.require("attention.value_length", head_dim)
    own.require("attention.sliding_window", 0)
    own.require("rope.dimension_count", head_dim)
    own.require("rope.scaling.type", "none")
    # A factor without a type means linear scaling.
    own.require("rope.scaling.factor", 0, 1)
    own.require("rope.scale_linear", 0, 1)


def _decimal(single: float) -> float:
    """The shortest decimal that the file's float32 stands for: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(single)))
