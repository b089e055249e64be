"""What the families' GGUF headers share."""

from __future__ import annotations

from typing import Any

import numpy as np

from refmodel.families.family import GgufHeader
from refmodel.fields import Fields


def sizes(header: GgufHeader) -> dict[str, Any]:
    """The arguments of `refmodel.decoder.decoder` that every architecture's header gives alike."""
    own = header.fields
    d_model, n_heads = own.get("embedding_length", int), own.get("attention.head_count", int)
    head_dim = own.get("attention.key_length", int, d_model // max(n_heads, 1))
    own.require("attention.value_length", head_dim)
    own.require("rope.dimension_count", head_dim)
    return {
        "name": header.name,
        "n_layers": own.get("block_count", int),
        "d_model": d_model,
        "n_heads": n_heads,
        "n_kv_heads": own.get("attention.head_count_kv", int, n_heads),
        "head_dim": head_dim,
        "vocab_size": header.vocab_size,
        "tied_head": header.tied_head,
        "rope_theta": decimal(own.get("rope.freq_base", float, 10_000.0)),
        "norm_eps": decimal(own.get("attention.layer_norm_rms_epsilon", float)),
        "max_positions": own.get("context_length", int),
    }


def full_attention_sizes(header: GgufHeader) -> dict[str, Any]:
    """`sizes` of a model without windows and without scaled positions."""
    own, found = header.fields, sizes(header)
    own.require("attention.sliding_window", 0)
    own.require("rope.scaling.type", "none")
    # A factor without a type means linear scaling.
    own.require("rope.scaling.factor", 0, 1)
    own.require("rope.scale_linear", 0, 1)
    return found


def dense_sizes(header: GgufHeader) -> dict[str, Any]:
    """`full_attention_sizes` and F, of a model without experts."""
    header.fields.require("expert_count", 0)
    return {**full_attention_sizes(header), "d_ff": width(header.fields)}


def width(own: Fields) -> int:
    """F."""
    return own.get("feed_forward_length", int)


def decimal(single: float) -> float:
    """The shortest decimal that the file's float32 stands for: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(single)))
