"""SmolLM3: the Llama shape, every fourth layer of which has no positions (NoPE, 2501.18795)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from refmodel.decoder import decoder
from refmodel.families.config_fields import FULL, SLIDING, SWIGLU_DEFAULTS, checked_kinds, layout_of, swiglu_sizes
from refmodel.families.family import Family, GgufHeader
from refmodel.families.gguf_fields import dense_sizes
from refmodel.fields import Fields
from refmodel.specification import ModelConfig

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
    default = [FULL if rotates[layer] or window is None else SLIDING for layer in range(n_layers)]
    layout = layout_of(checked_kinds(fields, default, slides=window is not None), window)
    return decoder(name, **found, qk_norm=False, rotates=rotates, layout=layout)


def _rotates(fields: Fields, n_layers: int) -> tuple[bool, ...]:
    """Which layers have positions: those with a 1 in `no_rope_layers`."""
    marks = fields.get("no_rope_layers", list, _every(n_layers, fields.get("no_rope_layer_interval", int)))
    if len(marks) < n_layers or not set(marks) <= {0, 1}:
        raise ValueError(f"{fields.where}: no_rope_layers must hold 0 or 1 for each of {n_layers} layers, got {marks}")
    return tuple(map(bool, marks[:n_layers]))


def _every(n_layers: int, interval: int) -> list[int]:
    return [int((layer + 1) % interval != 0) for layer in range(n_layers)]


def _from_header(header: GgufHeader) -> ModelConfig:
    """llama.cpp knows the interval by the architecture's name; no key of the file says it."""
    found = dense_sizes(header)
    return decoder(**found, qk_norm=False, rotates=tuple(map(bool, _every(found["n_layers"], _INTERVAL))))


FAMILY: Final = Family("smollm3", _from_config, "smollm3", _from_header, interleaves_heads=True, defaults=_DEFAULTS)
