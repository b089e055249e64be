"""What the families' GGUF headers share."""

from __future__ import annotations

from typing import Any, Final

from refmodel.families.family import GgufHeader
from refmodel.families.gguf_positions import decimal, positions
from refmodel.fields import Fields
from refmodel.specification import MOST_LAYERS

_OF_SCORES: Final = (
    "attn_logit_softcapping", "final_logit_softcapping", "attention.clamp_kqv", "attention.max_alibi_bias",
)  # fmt: skip
"""Keys that change scores or logits in ways that are not computed; 0 stands for none."""


def sizes(header: GgufHeader, rotated: int | None = None) -> dict[str, Any]:
    """The arguments of `refmodel.decoder.decoder` that every architecture's header gives alike.

    `rotated` dimensions of a head have positions: all of them, where nobody says otherwise.

    Raises `ValueError` for attention that is neither computed nor counted.
    """
    own = header.fields
    own.require("attention.causal", True)
    d_model, n_heads = own.get("embedding_length", int), own.get("attention.head_count", int)
    head_dim = own.get("attention.key_length", int, d_model // max(n_heads, 1))
    own.require("attention.value_length", head_dim)
    rotated = rotated or head_dim
    rope, why_not = positions(header, rotated)
    others = (*(own.objection(key, 0) for key in _OF_SCORES), own.objection("rope.dimension_count", rotated))
    return {
        "name": header.name,
        "n_layers": own.within("block_count", 1, MOST_LAYERS, kind=int),
        "d_model": d_model,
        "n_heads": n_heads,
        "n_kv_heads": own.get("attention.head_count_kv", int, n_heads),
        "head_dim": head_dim,
        "vocab_size": header.vocab_size,
        "tied_head": header.tied_head,
        "rope": rope,
        "attention_bias": header.attention_bias,
        "norm_eps": decimal(own.within("attention.layer_norm_rms_epsilon", 0, 1)),
        "max_positions": own.get("context_length", int),
        "cannot_run": next(filter(None, (*others, why_not)), ""),
    }


def full_attention_sizes(header: GgufHeader) -> dict[str, Any]:
    """`sizes` of a model without windows."""
    header.fields.require("attention.sliding_window", 0)
    return sizes(header)


def dense_sizes(header: GgufHeader) -> dict[str, Any]:
    """`full_attention_sizes` and F, of a model without experts."""
    header.fields.require("expert_count", 0)
    return {**full_attention_sizes(header), "d_ff": width(header.fields), "mlp_bias": header.mlp_bias}


def width(own: Fields) -> int:
    """F."""
    return own.get("feed_forward_length", int)
