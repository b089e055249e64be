"""What the families' config.json files share: sizes, biases, windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from attention.full import Full
from attention.layout import Layout
from attention.sliding_window import SlidingWindow
from refmodel.families.positions import positions
from refmodel.fields import Fields
from refmodel.specification import MOST_LAYERS
from refmodel.words import brief

FULL, SLIDING = LAYER_TYPES = ("full_attention", "sliding_attention")
SWIGLU_DEFAULTS: Final[Mapping[str, Any]] = MappingProxyType({
    "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": False, "rope_theta": 10_000.0,
})  # fmt: skip
"""What Llama's descendants mean by a field that a file leaves out, as far as they agree; see `Family.defaults`."""

_DUAL_CHUNK: Final = "dual_chunk_attention_config"


def sizes(fields: Fields) -> dict[str, Any]:
    """The arguments of `refmodel.decoder.decoder` that every family's file gives alike.

    Raises `ValueError` for attention that is neither computed nor counted.
    """
    fields.require("is_causal", True)
    fields.require("use_bidirectional_attention", False)
    if fields.values.get(_DUAL_CHUNK) is not None:
        raise ValueError(
            f"{fields.where}: {_DUAL_CHUNK} asks for attention that is neither computed nor counted here; a file "
            "without it is full attention"
        )
    d_model, n_heads = (fields.get(key, int) for key in ("hidden_size", "num_attention_heads"))
    return {
        "n_layers": fields.within("num_hidden_layers", 1, MOST_LAYERS, kind=int),
        "d_model": d_model,
        "n_heads": n_heads,
        "n_kv_heads": fields.get("num_key_value_heads", int, n_heads),
        "head_dim": fields.get("head_dim", int, d_model // max(n_heads, 1)),
        "vocab_size": fields.get("vocab_size", int),
        "d_ff": fields.get("intermediate_size", int),
        "norm_eps": fields.within("rms_norm_eps", 0, 1),
        "max_positions": fields.get("max_position_embeddings", int),
        "tied_head": fields.get("tie_word_embeddings", bool, False),
    }


def swiglu_sizes(fields: Fields, *, attention_bias: str = "qkvo", mlp_bias: bool = False) -> dict[str, Any]:
    """`sizes` and what Llama's descendants share: silu, one kind of positions, biases.

    `attention_bias` names the projections that the file's flag gives a bias, `mlp_bias` says whether the family knows
    that flag.
    """
    found = sizes(fields)
    rope, why_not = positions(fields, found["head_dim"])
    has_bias = {key: fields.get(key, bool, False) for key in ("attention_bias", "mlp_bias")}
    flags = {"attention_bias": bool(attention_bias), "mlp_bias": mlp_bias}
    others = (
        fields.objection("hidden_act", "silu"),
        *(fields.objection(key, False) for key, known in flags.items() if not known),
    )
    return {
        **found,
        "attention_bias": attention_bias if has_bias["attention_bias"] else "",
        "mlp_bias": has_bias["mlp_bias"],
        "rope": rope,
        "cannot_run": next(filter(None, (*others, why_not)), ""),
    }


def text_part(fields: Fields, defaults: Mapping[str, Any]) -> Fields:
    """`text_config` of the file of a model with pictures, with a text model's `defaults`; the rest is left out, but for
    `tie_word_embeddings`, which may stand outside."""
    inside = fields.get("text_config", dict)
    tied = fields.values.get("tie_word_embeddings")
    text = {"tie_word_embeddings": tied, **inside} if tied is not None else inside
    return Fields(text, f"{fields.where}: text_config").with_defaults(defaults)


def layout_of(kinds: list[str], window: int | None) -> Layout:
    """The variants of layers by their kind; windows count keys, the query's own included, there as here."""
    variants = {FULL: Full(), SLIDING: Full() if window is None else SlidingWindow(window)}
    return tuple(variants[kind] for kind in kinds)


def windows_after(fields: Fields, n_layers: int) -> Layout:
    """Qwen's: windows where the file says `use_sliding_window`, in layers from `max_window_layers` on."""
    slides = fields.get("use_sliding_window", bool, False)
    window = fields.get("sliding_window", int, None) if slides else None
    first = n_layers if window is None else fields.get("max_window_layers", int, n_layers)
    kinds = checked_kinds(fields, n_layers, lambda layer: layer < first, slides=window is not None)
    return layout_of(kinds, window)


def checked_kinds(fields: Fields, n_layers: int, sees_all: Callable[[int], bool], *, slides: bool = True) -> list[str]:
    """`layer_types`, one for each layer, or where the file has none what `sees_all` says of a layer's number."""
    kinds = fields.get("layer_types", list, None)
    if kinds is None:
        return [FULL if sees_all(layer) else SLIDING for layer in range(n_layers)]
    if len(kinds) != n_layers:
        raise ValueError(f"{fields.where}: layer_types holds {len(kinds)} entries for {n_layers} layers")
    for kind in kinds:
        if kind not in LAYER_TYPES or (kind == SLIDING and not slides):
            accepted = ", ".join(LAYER_TYPES if slides else LAYER_TYPES[:1])
            raise ValueError(f"{fields.where}: layer_types holds {brief(kind)}; accepted: {accepted}")
    return kinds


def whole_numbers(fields: Fields, key: str) -> tuple[int, ...]:
    """The numbers that a list holds; none where there is no list."""
    found = fields.get(key, list, [])
    if not all(type(one) is int for one in found):
        raise ValueError(f"{fields.where}: {key} must hold whole numbers, got {brief(found)}")
    return tuple(found)
