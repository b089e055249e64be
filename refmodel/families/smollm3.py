"""SmolLM3: the Llama shape, every fourth layer of which has no positions (NoPE, 2501.18795)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from refmodel.decoder import decoder
from refmodel.families.config_fields import SWIGLU_DEFAULTS, checked_kinds, layout_of, swiglu_sizes
from refmodel.families.config_written import written_layer_types, written_swiglu
from refmodel.families.family import Family, GgufHeader
from refmodel.families.gguf_fields import dense_sizes
from refmodel.fields import MOST_WHOLE, Fields
from refmodel.parts import Dense
from refmodel.rope_scaling import NoPositions
from refmodel.specification import ModelConfig
from refmodel.words import brief

_INTERVAL: Final = 4
_DEFAULTS: Final[Mapping[str, Any]] = {
    **SWIGLU_DEFAULTS, "max_position_embeddings": 32_768, "num_key_value_heads": 4, "tie_word_embeddings": True,
    "rope_theta": 2_000_000.0, "attention_bias": False, "mlp_bias": False, "use_sliding_window": False,
    "no_rope_layer_interval": _INTERVAL,
}  # fmt: skip


def _from_config(name: str, fields: Fields) -> ModelConfig:
    found = swiglu_sizes(fields, mlp_bias=True)
    n_layers = found["n_layers"]
    rotates = _rotates(fields, n_layers)
    window = fields.get("sliding_window", int, None) if fields.get("use_sliding_window", bool) else None
    kinds = checked_kinds(fields, n_layers, lambda i: rotates[i] or window is None, slides=window is not None)
    return decoder(name, **found, qk_norm=False, rotates=rotates, layout=layout_of(kinds, window))


def _rotates(fields: Fields, n_layers: int) -> tuple[bool, ...]:
    """Which layers have positions: those with a 1 in `no_rope_layers`."""
    marks = fields.get("no_rope_layers", list, None)
    if marks is None:
        marks = _every(n_layers, fields.within("no_rope_layer_interval", 1, MOST_WHOLE, kind=int))
    if len(marks) < n_layers or not all(mark in (0, 1) for mark in marks):
        told = f"no_rope_layers must hold 0 or 1 for each of {n_layers} layers, got {brief(marks)}"
        raise ValueError(f"{fields.where}: {told}")
    return tuple(map(bool, marks[:n_layers]))


def _every(n_layers: int, interval: int) -> list[int]:
    return [int((layer + 1) % interval != 0) for layer in range(n_layers)]


def _to_config(config: ModelConfig) -> dict[str, Any]:
    forward, windows = config.layers[0].feed_forward, written_layer_types(config)
    return {
        **written_swiglu(config, "smollm3", "SmolLM3ForCausalLM"), **windows,
        "mlp_bias": isinstance(forward, Dense) and forward.bias,
        "use_sliding_window": windows["sliding_window"] is not None,
        "no_rope_layers": [int(not isinstance(layer.rope.scaling, NoPositions)) for layer in config.layers],
    }  # fmt: skip


def _from_header(header: GgufHeader) -> ModelConfig:
    """llama.cpp knows the interval by the architecture's name; no key of the file says it."""
    found = dense_sizes(header)
    return decoder(**found, qk_norm=False, rotates=tuple(map(bool, _every(found["n_layers"], _INTERVAL))))


FAMILY: Final = Family(
    "smollm3", _from_config, "smollm3", _from_header, interleaves_heads=True, defaults=_DEFAULTS, to_config=_to_config
)
