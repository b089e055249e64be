"""Qwen2 and Qwen2.5 (2412.15115): the Llama shape with biases of queries, keys and values, windows where asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from refmodel.decoder import decoder
from refmodel.families.config_fields import SWIGLU_DEFAULTS, swiglu_sizes, windows_after
from refmodel.families.config_written import written_swiglu, written_windows_after
from refmodel.families.family import Family, GgufHeader
from refmodel.families.gguf_fields import dense_sizes
from refmodel.fields import Fields
from refmodel.specification import ModelConfig

_DEFAULTS: Final[Mapping[str, Any]] = {
    **SWIGLU_DEFAULTS, "max_position_embeddings": 32_768, "num_key_value_heads": 32, "use_sliding_window": False,
    "sliding_window": 4096, "max_window_layers": 28,
}  # fmt: skip


def _from_config(name: str, fields: Fields) -> ModelConfig:
    found = swiglu_sizes(fields, attention_bias="") | {"attention_bias": "qkv"}
    return decoder(name, **found, qk_norm=False, layout=windows_after(fields, found["n_layers"]))


def _to_config(config: ModelConfig) -> dict[str, Any]:
    found = written_swiglu(config, "qwen2", "Qwen2ForCausalLM")
    del found["attention_bias"]  # which is always there: of queries, keys and values
    return {**found, **written_windows_after(config)}


def _from_header(header: GgufHeader) -> ModelConfig:
    return decoder(**dense_sizes(header), qk_norm=False)


FAMILY: Final = Family("qwen2", _from_config, "qwen2", _from_header, defaults=_DEFAULTS, to_config=_to_config)
