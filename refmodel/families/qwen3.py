"""Dense Qwen3 (2505.09388): grouped queries, qk-norm, SwiGLU, windows only where the file says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from refmodel.decoder import decoder
from refmodel.families.config_fields import SWIGLU_DEFAULTS, swiglu_sizes, windows_after
from refmodel.families.config_written import written_swiglu, written_windows_after
from refmodel.families.family import Family, GgufHeader
from refmodel.families.gguf_fields import dense_sizes
from refmodel.fields import Fields
from refmodel.parts import Rope
from refmodel.specification import ModelConfig

_DEFAULTS: Final[Mapping[str, Any]] = {
    **SWIGLU_DEFAULTS, "max_position_embeddings": 32_768, "num_key_value_heads": 32, "head_dim": 128,
    "attention_bias": False, "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28,
}  # fmt: skip


def _from_config(name: str, fields: Fields) -> ModelConfig:
    found = swiglu_sizes(fields)
    return decoder(name, **found, layout=windows_after(fields, found["n_layers"]))


def _to_config(config: ModelConfig) -> dict[str, Any]:
    return {**written_swiglu(config, "qwen3", "Qwen3ForCausalLM"), **written_windows_after(config)}


def _from_header(header: GgufHeader) -> ModelConfig:
    return decoder(**dense_sizes(header))


FAMILY: Final = Family("qwen3", _from_config, "qwen3", _from_header, defaults=_DEFAULTS, to_config=_to_config)


def _qwen3(size: str, n_layers: int, d_model: int, n_heads: int, d_ff: int, tied_head: bool) -> ModelConfig:
    return decoder(
        f"qwen3-{size}", n_layers, d_model, n_heads, n_kv_heads=8, head_dim=128, vocab_size=151_936, d_ff=d_ff,
        tied_head=tied_head, rope=Rope(1e6),
    )  # fmt: skip


PRESETS: Final = (
    _qwen3("0.6b", 28, 1024, 16, 3072, tied_head=True),
    _qwen3("1.7b", 28, 2048, 16, 6144, tied_head=True),
    _qwen3("4b", 36, 2560, 32, 9728, tied_head=True),
    _qwen3("8b", 36, 4096, 32, 12_288, tied_head=False),
    _qwen3("14b", 40, 5120, 40, 17_408, tied_head=False),
    _qwen3("32b", 64, 5120, 64, 25_600, tied_head=False),
)
