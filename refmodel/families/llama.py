"""The Llama shape (2302.13971): grouped queries, SwiGLU, no qk-norm, full attention; SmolLM2 has it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from refmodel.decoder import decoder
from refmodel.families.config_fields import SWIGLU_DEFAULTS, swiglu_sizes
from refmodel.families.config_written import written_swiglu
from refmodel.families.family import Family, GgufHeader
from refmodel.families.gguf_fields import dense_sizes
from refmodel.fields import Fields
from refmodel.parts import Dense, Rope
from refmodel.specification import ModelConfig

_DEFAULTS: Final[Mapping[str, Any]] = {
    **SWIGLU_DEFAULTS, "max_position_embeddings": 2048, "attention_bias": False, "mlp_bias": False,
}  # fmt: skip


def _from_config(name: str, fields: Fields) -> ModelConfig:
    return decoder(name, **swiglu_sizes(fields, mlp_bias=True), qk_norm=False)


def _to_config(config: ModelConfig) -> dict[str, Any]:
    forward = config.layers[0].feed_forward
    return {
        **written_swiglu(config, "llama", "LlamaForCausalLM"), "mlp_bias": isinstance(forward, Dense) and forward.bias
    }  # fmt: skip


def _from_header(header: GgufHeader) -> ModelConfig:
    return decoder(**dense_sizes(header), qk_norm=False)


FAMILY: Final = Family(
    "llama", _from_config, "llama", _from_header, interleaves_heads=True, defaults=_DEFAULTS, to_config=_to_config
)

SMOLLM2: Final = decoder(
    "smollm2-135m", n_layers=30, d_model=576, n_heads=9, n_kv_heads=3, head_dim=64, vocab_size=49_152, d_ff=1536,
    qk_norm=False, tied_head=True, rope=Rope(100_000.0), norm_eps=1e-5, max_positions=8192,
)  # fmt: skip

PRESETS: Final = (
    decoder(
        "llama2-7b", n_layers=32, d_model=4096, n_heads=32, n_kv_heads=32, head_dim=128, vocab_size=32_000, d_ff=11_008,
        qk_norm=False, norm_eps=1e-5, max_positions=4096,
    ),
    decoder(
        "llama3-8b", n_layers=32, d_model=4096, n_heads=32, n_kv_heads=8, head_dim=128, vocab_size=128_256, d_ff=14_336,
        qk_norm=False, rope=Rope(500_000.0), norm_eps=1e-5, max_positions=8192,
    ),
)  # fmt: skip
