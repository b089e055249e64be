"""config.json files of published models, written down by hand: the fields that say what a model is.  No torch here.

SHRINK is laid over one for a model of the same fields that is small enough to compute: sizes and contexts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

_QWEN3: Final = {
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 151643,
    "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "initializer_range": 0.02,
    "max_position_embeddings": 40960, "model_type": "qwen3", "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
    "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
_YARN: Final = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}
_QWEN3_30B: Final = {
    "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 151643,
    "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048,
    "initializer_range": 0.02, "intermediate_size": 6144, "max_position_embeddings": 262144, "max_window_layers": 48,
    "mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob": True,
    "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
    "num_key_value_heads": 4, "output_router_logits": False, "rms_norm_eps": 1e-06, "rope_scaling": None,
    "rope_theta": 10000000, "router_aux_loss_coef": 0.001, "sliding_window": None, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False,
    "vocab_size": 151936,
}  # fmt: skip
_MISTRAL: Final = {
    "architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
    "max_position_embeddings": 32768, "model_type": "mistral", "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "use_cache": True,
}  # fmt: skip

CONFIGS: Final[Mapping[str, dict[str, Any]]] = MappingProxyType({
    "Qwen3-30B-A3B-Instruct-2507": _QWEN3_30B,
    "Qwen3-Coder-30B-A3B-Instruct": {
        **_QWEN3_30B, "intermediate_size": 5472, "max_window_layers": 28, "qkv_bias": False, "use_qk_norm": True,
        "router_aux_loss_coef": 0.0, "shared_expert_intermediate_size": 0, "transformers_version": "4.52.3",
    },
    "Qwen3-30B-A3B-FP8": {
        **_QWEN3_30B, "max_position_embeddings": 40960, "rope_theta": 1000000.0,
        "quantization_config": {
            "activation_scheme": "dynamic", "fmt": "e4m3", "modules_to_not_convert": ["lm_head"],
            "quant_method": "fp8", "weight_block_size": [128, 128],
        },
    },
    "Qwen3-0.6B with YaRN": {
        **_QWEN3, **_YARN, "hidden_size": 1024, "intermediate_size": 3072, "max_window_layers": 28,
        "num_attention_heads": 16, "num_hidden_layers": 28, "tie_word_embeddings": True,
    },
    "Qwen3-8B with YaRN": {
        **_QWEN3, **_YARN, "hidden_size": 4096, "intermediate_size": 12288, "max_window_layers": 36,
        "num_attention_heads": 32, "num_hidden_layers": 36, "tie_word_embeddings": False,
    },
    "Llama-3.1-8B": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu", "hidden_size": 4096,
        "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "transformers_version": "4.43.0.dev0", "use_cache": True, "vocab_size": 128256,
    },
    "Mistral-7B-v0.1": {**_MISTRAL, "rope_theta": 10000.0, "sliding_window": 4096, "vocab_size": 32000},
    "Mistral-7B-v0.3": {**_MISTRAL, "rope_theta": 1000000.0, "sliding_window": None, "vocab_size": 32768},
    "SmolLM2-135M": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0,
        "eos_token_id": 0, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "is_llama_config": True, "max_position_embeddings": 8192, "model_type": "llama",
        "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": True,
        "vocab_size": 49152,
    },
    "SmolLM3-3B": {
        "architectures": ["SmolLM3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "eos_token_id": 128012, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
        "intermediate_size": 11008, "layer_types": ["full_attention"] * 36, "max_position_embeddings": 65536,
        "max_window_layers": 28, "mlp_bias": False, "model_type": "smollm3", "no_rope_layer_interval": 4,
        "no_rope_layers": [1, 1, 1, 0] * 9, "num_attention_heads": 16, "num_hidden_layers": 36,
        "num_key_value_heads": 4, "pad_token_id": 128004, "pretraining_tp": 2, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 5000000.0, "sliding_window": None, "torch_dtype": "bfloat16",
        "transformers_version": "4.54.0.dev0", "use_cache": False, "use_sliding_window": False, "vocab_size": 128256,
    },
    "Qwen2.5-7B with a window": {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643,
        "hidden_act": "silu", "hidden_size": 3584, "initializer_range": 0.02, "intermediate_size": 18944,
        "max_position_embeddings": 131072, "max_window_layers": 21, "model_type": "qwen2", "num_attention_heads": 28,
        "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
        "sliding_window": 32768, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "transformers_version": "4.40.1", "use_cache": True, "use_mrope": False, "use_sliding_window": True,
        "vocab_size": 152064,
    },
    "gpt-oss-20b": {
        "architectures": ["GptOssForCausalLM"], "attention_bias": True, "attention_dropout": 0.0,
        "eos_token_id": 200002, "experts_per_token": 4, "head_dim": 64, "hidden_act": "silu", "hidden_size": 2880,
        "initial_context_length": 4096, "initializer_range": 0.02, "intermediate_size": 2880,
        "layer_types": ["sliding_attention", "full_attention"] * 12, "max_position_embeddings": 131072,
        "model_type": "gpt_oss", "num_attention_heads": 64, "num_experts_per_tok": 4, "num_hidden_layers": 24,
        "num_key_value_heads": 8, "num_local_experts": 32, "output_router_logits": False, "pad_token_id": 199999,
        "quantization_config": {
            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                                       "lm_head"],
            "quant_method": "mxfp4",
        },
        "rms_norm_eps": 1e-05,
        "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0,
                         "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate": False},
        "rope_theta": 150000, "router_aux_loss_coef": 0.9, "sliding_window": 128, "swiglu_limit": 7.0,
        "tie_word_embeddings": False, "transformers_version": "4.55.0.dev0", "use_cache": True, "vocab_size": 201088,
    },
})  # fmt: skip

_ALL: Final = {"vocab_size": 53, "hidden_size": 24, "intermediate_size": 19, "num_hidden_layers": 3}
_HEADS: Final = {"num_attention_heads": 6, "num_key_value_heads": 2}
_EXPERTS: Final = {"num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 5}
_MOE: Final = {**_ALL, **_HEADS, **_EXPERTS, "head_dim": 10}
_SMALL_YARN: Final = {
    **_ALL, **_HEADS, "head_dim": 10, "rope_theta": 100, "max_position_embeddings": 20,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
}  # fmt: skip

SHRINK: Final[Mapping[str, dict[str, Any]]] = MappingProxyType({
    "Qwen3-30B-A3B-Instruct-2507": _MOE,
    "Qwen3-Coder-30B-A3B-Instruct": _MOE,
    "Qwen3-0.6B with YaRN": _SMALL_YARN,
    "Qwen3-8B with YaRN": _SMALL_YARN,
    "Llama-3.1-8B": {
        **_ALL, **_HEADS, "rope_theta": 50.0, "max_position_embeddings": 256, "hidden_size": 60,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 16, "rope_type": "llama3"},
    },
    "Mistral-7B-v0.1": {**_ALL, **_HEADS, "sliding_window": 7, "max_position_embeddings": 16},
    "Mistral-7B-v0.3": {**_ALL, **_HEADS, "max_position_embeddings": 16},
    "SmolLM2-135M": {**_ALL, "num_attention_heads": 3, "num_key_value_heads": 1, "max_position_embeddings": 16},
    "SmolLM3-3B": {
        **_ALL, **_HEADS, "num_hidden_layers": 5, "no_rope_layers": [1, 1, 1, 0, 1], "max_position_embeddings": 16,
        "layer_types": ["full_attention"] * 5, "pad_token_id": 4,
    },
    "Qwen2.5-7B with a window": {
        **_ALL, **_HEADS, "sliding_window": 7, "max_window_layers": 1, "max_position_embeddings": 16,
    },
    "gpt-oss-20b": {
        **_ALL, **_HEADS, "head_dim": 10, "num_local_experts": 7, "num_experts_per_tok": 3, "sliding_window": 7,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "max_position_embeddings": 16,
        "pad_token_id": 4, "quantization_config": None,
        "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 4.0, "original_max_position_embeddings": 16,
                         "rope_type": "yarn", "truncate": False},
    },
})  # fmt: skip
"""Of those whose weights are read: 37 tokens are beyond each original context."""


def shrunken(name: str) -> dict[str, Any]:
    """The fields of the small model."""
    return CONFIGS[name] | SHRINK[name]
