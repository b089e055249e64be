"""Mistral (2310.06825): the Llama shape with a window in every layer; its GGUF files call themselves llama.

Ministral 8B is the same with windows in the layers that its file says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attention.sliding_window import SlidingWindow
from refmodel.decoder import decoder
from refmodel.families.config_fields import SLIDING, SWIGLU_DEFAULTS, checked_kinds, layout_of, swiglu_sizes
from refmodel.families.config_written import window_of, written_layer_types, written_swiglu
from refmodel.families.family import Family
from refmodel.fields import Fields
from refmodel.parts import Rope
from refmodel.specification import ModelConfig

_DEFAULTS: Final[Mapping[str, Any]] = {
    **SWIGLU_DEFAULTS, "max_position_embeddings": 131_072, "num_key_value_heads": 8, "sliding_window": 4096,
}  # fmt: skip


def _from_config(name: str, fields: Fields) -> ModelConfig:
    found = swiglu_sizes(fields, attention_bias="")
    layout = layout_of([SLIDING] * found["n_layers"], fields.get("sliding_window", int, None))
    return decoder(name, **found, qk_norm=False, layout=layout)


def _to_config(config: ModelConfig) -> dict[str, Any]:
    return {**written_swiglu(config, "mistral", "MistralForCausalLM"), "sliding_window": window_of(config)}


FAMILY: Final = Family("mistral", _from_config, defaults=_DEFAULTS, to_config=_to_config)


def _by_layer(name: str, fields: Fields) -> ModelConfig:
    found = swiglu_sizes(fields, attention_bias="")
    kinds = checked_kinds(fields, found["n_layers"], lambda _: False)
    window = fields.get("sliding_window", int) if SLIDING in kinds else None
    return decoder(name, **found, qk_norm=False, layout=layout_of(kinds, window))


def _to_layers(config: ModelConfig) -> dict[str, Any]:
    return {**written_swiglu(config, "ministral", "MinistralForCausalLM"), **written_layer_types(config)}


MINISTRAL: Final = Family("ministral", _by_layer, defaults=_DEFAULTS, to_config=_to_layers)


def _counted(name: str, **sizes: Any) -> ModelConfig:
    """Ministral 3 (config.json of its language model): the Llama shape, whose queries grow with the position."""
    return decoder(
        name, **sizes, qk_norm=False, rope=Rope(1_000_000.0), norm_eps=1e-5,
        cannot_run="queries that are scaled by their position (llama_4_scaling_beta) are not computed",
    )  # fmt: skip


PRESETS: Final = (
    decoder(
        "mistral-7b", n_layers=32, d_model=4096, n_heads=32, n_kv_heads=8, head_dim=128, vocab_size=32_000, d_ff=14_336,
        qk_norm=False, norm_eps=1e-5, max_positions=32_768, layout=(SlidingWindow(4096),) * 32,
    ),
    decoder(
        "mistral-7b-v0.3", n_layers=32, d_model=4096, n_heads=32, n_kv_heads=8, head_dim=128, vocab_size=32_768,
        d_ff=14_336, qk_norm=False, rope=Rope(1_000_000.0), norm_eps=1e-5, max_positions=32_768,
    ),
    _counted(
        "ministral-3-8b", n_layers=34, d_model=4096, n_heads=32, n_kv_heads=8, head_dim=128, vocab_size=131_072,
        d_ff=14_336,
    ),
    _counted(
        "ministral-3-14b", n_layers=40, d_model=5120, n_heads=32, n_kv_heads=8, head_dim=128, vocab_size=131_072,
        d_ff=16_384,
    ),
)  # fmt: skip
