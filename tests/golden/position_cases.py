"""What config.json files say of positions, in all spellings, on top of two small models.  No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

TOKENS, FEW_TOKENS = 37, 11
"""Beyond the original context and within it."""

ORIGINAL: Final = 16
_AROUND: Final = {"original_max_position_embeddings": ORIGINAL}
_SHORT: Final = [1.0, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 1.7]
_LONG: Final = [1.0, 1.3, 1.9, 2.5, 3.1, 3.6, 4.0, 4.4]
_LONGROPE: Final = {"rope_type": "longrope", "short_factor": _SHORT, "long_factor": _LONG}

_SIZES: Final = {
    "vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 19, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "rms_norm_eps": 1e-3, "max_position_embeddings": 64,
}  # fmt: skip
BASES: Final[Mapping[str, dict[str, Any]]] = MappingProxyType({
    "llama": _SIZES | {"model_type": "llama", "rope_theta": 100.0},
    "gemma3_text": _SIZES | {
        "model_type": "gemma3_text", "sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 17, "attention_bias": True,
    },
})  # fmt: skip

CASES: Final[Mapping[str, tuple[str, dict[str, Any]]]] = MappingProxyType({
    "linear": ("llama", {"rope_scaling": {"type": "linear", "factor": 4}}),
    "dynamic": (
        "llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 3.0}, "max_position_embeddings": ORIGINAL},
    ),
    "yarn": ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0, **_AROUND}}),
    "yarn, mscale": (
        "llama",
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.9, "beta_fast": 2,
                             "beta_slow": 0.5, "rope_theta": 300.0, **_AROUND}},
    ),
    "yarn, not truncated": (
        "llama",
        {"rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 1.37, "truncate": False, "beta_fast": 2.5,
                          **_AROUND},
         "rope_parameters": {"rope_type": "linear", "factor": 9.0, "rope_theta": 7.0}},
    ),
    "yarn, no factor": ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": None, **_AROUND}}),
    "yarn, no original": ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 4.0}}),
    "llama3": (
        "llama",
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 0.7, "high_freq_factor": 2.5,
                          **_AROUND}},
    ),
    "longrope": ("llama", {"rope_scaling": {**_LONGROPE, "factor": 3.0, **_AROUND}}),
    "longrope, attention factor": (
        "llama", {"rope_parameters": {**_LONGROPE, "attention_factor": 1.21, "rope_theta": 300.0, **_AROUND}},
    ),
    "longrope, original outside": ("llama", {"rope_scaling": _LONGROPE, **_AROUND}),
    "default, a factor left over": ("llama", {"rope_scaling": {"rope_type": "default", "factor": 3.0}}),
    "two kinds": (
        "gemma3_text",
        {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10.0},
                             "full_attention": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0,
                                                "rope_theta": 100.0, **_AROUND}}},
    ),
    "two kinds, by length": (
        "gemma3_text",
        {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
                             "full_attention": {**_LONGROPE, "rope_theta": 100.0, **_AROUND}}},
    ),
    "two kinds, older": (
        "gemma3_text",
        {"rope_theta": 100.0, "rope_local_base_freq": 10.0, "rope_scaling": {"rope_type": "linear", "factor": 3.0}},
    ),
})  # fmt: skip
