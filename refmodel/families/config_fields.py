"""What the families' config.json files share: sizes, rotary positions, windows."""

from __future__ import annotations

from typing import Any, Final

from attention.full import Full
from attention.layout import Layout
from attention.sliding_window import SlidingWindow
from refmodel.fields import Fields

FULL, SLIDING = LAYER_TYPES = ("full_attention", "sliding_attention")
_ROPE_KEYS: Final = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}


def sizes(fields: Fields) -> dict[str, Any]:
    """The arguments of `refmodel.decoder.decoder` that every family's file gives alike; refuses biases."""
    for bias in ("attention_bias", "mlp_bias"):
        fields.require(bias, False)
    n_layers, d_model, n_heads = (
        fields.get(key, int) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")
    )
    return {
        "n_layers": n_layers,
        "d_model": d_model,
        "n_heads": n_heads,
        "n_kv_heads": fields.get("num_key_value_heads", int, n_heads),
        "head_dim": fields.get("head_dim", int, d_model // max(n_heads, 1)),
        "vocab_size": fields.get("vocab_size", int),
        "d_ff": fields.get("intermediate_size", int),
        "norm_eps": fields.get("rms_norm_eps", float),
        "max_positions": fields.get("max_position_embeddings", int),
    }


def swiglu_sizes(fields: Fields) -> dict[str, Any]:
    """`sizes` and what Llama's descendants share: silu, one rotary base, a head that is its own unless told."""
    fields.require("hidden_act", "silu")
    return {
        **sizes(fields),
        "tied_head": fields.get("tie_word_embeddings", bool, False),
        "rope_theta": rope_theta(fields),
    }


def rope_theta(fields: Fields) -> float:
    """The base of the rotary angles: a field of its own in older files, inside `rope_parameters` in newer ones."""
    fields.require("partial_rotary_factor", 1)
    theta = fields.get("rope_theta", float, 10_000.0)
    for group in ("rope_scaling", "rope_parameters"):
        rope = Fields(fields.get(group, dict, {}), f"{fields.where}: {group}")
        for key in ("rope_type", "type"):
            rope.require(key, "default")
        rope.require("partial_rotary_factor", 1)
        refuse_others(rope, _ROPE_KEYS)
        theta = rope.get("rope_theta", float, theta)
    return theta


def refuse_others(fields: Fields, accepted: set[str]) -> None:
    """Raises `ValueError` for a field that is not known to change nothing."""
    if others := sorted(fields.values.keys() - accepted):
        raise ValueError(f"{fields.where} holds {others[0]}; accepted: {', '.join(sorted(accepted))}")


def layout_of(kinds: list[str], window: int | None) -> Layout:
    """The variants of layers by their kind; windows count keys, the query's own included, there as here."""
    variants = {FULL: Full(), SLIDING: Full() if window is None else SlidingWindow(window)}
    return tuple(variants[kind] for kind in kinds)


def checked_kinds(fields: Fields, default: list[str], *, slides: bool = True) -> list[str]:
    """`layer_types`, or `default` where the file has none."""
    kinds = fields.get("layer_types", list, default)
    for kind in kinds:
        if kind not in LAYER_TYPES or (kind == SLIDING and not slides):
            accepted = ", ".join(LAYER_TYPES if slides else LAYER_TYPES[:1])
            raise ValueError(f"{fields.where}: layer_types holds {kind!r}; accepted: {accepted}")
    return kinds
