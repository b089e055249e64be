"""Mistral (2310.06825): the Llama shape with a window in every layer; its GGUF files call themselves llama."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from attention.sliding_window import SlidingWindow
from refmodel.decoder import decoder
from refmodel.families.config_fields import SLIDING, layout_of, swiglu_sizes
from refmodel.families.family import Family
from refmodel.fields import Fields
from refmodel.specification import ModelConfig

# What transformers takes for a field that a file leaves out.
_DEFAULTS: Final[Mapping[str, Any]] = {"num_key_value_heads": 8, "sliding_window": 4096}


def _from_config(name: str, fields: Fields) -> ModelConfig:
    fields = fields.with_defaults(_DEFAULTS)
    found = swiglu_sizes(fields)
    layout = layout_of([SLIDING] * found["n_layers"], fields.get("sliding_window", int, None))
    return decoder(name, **found, qk_norm=False, layout=layout)


FAMILY: Final = Family("mistral", _from_config)


def _counted(name: str, **sizes: Any) -> ModelConfig:
    """Ministral 3 (config.json of its language model): the Llama shape, whose positions are scaled."""
    config = decoder(name, **sizes, qk_norm=False, rope_theta=1_000_000.0, norm_eps=1e-5)
    return dataclasses.replace(config, cannot_run="its scaled positions (YaRN) are not computed")


PRESETS: Final = (
    decoder(
        "mistral-7b", n_layers=32, d_model=4096, n_heads=32, n_kv_heads=8, head_dim=128, vocab_size=32_000, d_ff=14_336,
        qk_norm=False, norm_eps=1e-5, max_positions=32_768, layout=(SlidingWindow(4096),) * 32,
    ),
    decoder(
        "mistral-7b-v0.3", n_layers=32, d_model=4096, n_heads=32, n_kv_heads=8, head_dim=128, vocab_size=32_768,
        d_ff=14_336, qk_norm=False, rope_theta=1_000_000.0, norm_eps=1e-5, max_positions=32_768,
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
