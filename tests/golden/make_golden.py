"""Golden files: tiny random models of transformers and what they compute.  Needs torch and transformers.

    python -m tests.golden.make_golden          rewrites every folder beside this file, from fixed seeds
    python -m tests.golden.make_golden gemma3   those of these cases

versions.json says what wrote them all; each config.json has its own transformers_version.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import torch
import transformers

HERE: Final = Path(__file__).parent
BATCH, TOKENS, VOCAB = 2, 37, 53

# An eps so large that a wrong one is seen, and heads whose joint width (42, 60, 96) is not the model's.
_SHARED: Final = {"vocab_size": VOCAB, "hidden_size": 23, "rms_norm_eps": 1e-3, "max_position_embeddings": 41}
_G1: Final = {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 14}
_G3: Final = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10}
_G8: Final = {"num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 6}
_DENSE: Final = _SHARED | {"num_hidden_layers": 3, "intermediate_size": 19}
_MOE: Final = _DENSE | {"num_experts": 7, "num_experts_per_tok": 3, "moe_intermediate_size": 5, "norm_topk_prob": True}
_HYBRID: Final = _SHARED | {
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 24, "moe_intermediate_size": 5,
    "shared_expert_intermediate_size": 11, "intermediate_size": 19, "max_position_embeddings": 300,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25},
}  # fmt: skip

CASES: Final[MappingProxyType[str, tuple[str, dict[str, Any]]]] = MappingProxyType({
    "moe": ("Qwen3Moe", _MOE | _G3 | {"rope_theta": 1e6}),
    "moe-raw-top-k": ("Qwen3Moe", _MOE | _G8 | {"norm_topk_prob": False}),
    "moe-and-dense": (
        "Qwen3Moe",
        _MOE | _G1 | {"num_hidden_layers": 6, "mlp_only_layers": [3], "decoder_sparse_step": 2, "rms_norm_eps": 1e-6},
    ),
    "moe-window": ("Qwen3Moe", _MOE | _G3 | {"use_sliding_window": True, "sliding_window": 13}),
    "dense-tied": ("Qwen3", _DENSE | _G1 | {"tie_word_embeddings": True}),
    "dense-window": (
        "Qwen3",
        _DENSE | _G3
        | {"num_hidden_layers": 5, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2},
    ),
    "llama": ("Llama", _DENSE | {"hidden_size": 42, "num_attention_heads": 3, "num_key_value_heads": 1}),
    "llama-tied": (
        "Llama",
        _DENSE | _G8 | {"hidden_size": 48, "tie_word_embeddings": True, "rms_norm_eps": 1e-5, "rope_theta": 1e5},
    ),
    "gemma3": (  # a cycle of five local layers and a global one, and one more; scores that H does not scale
        "Gemma3Text",
        _DENSE | _G3
        | {"hidden_size": 24, "num_hidden_layers": 7, "sliding_window": 5, "query_pre_attn_scalar": 17,
           "rope_parameters": {
               "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
               "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e4},
           }},
    ),
    "llama-biases": (
        "Llama",
        _DENSE | {"hidden_size": 42, "num_attention_heads": 3, "num_key_value_heads": 1, "attention_bias": True,
                  "mlp_bias": True},
    ),
    "qwen3-next": (  # three layers of a state to one that attends; more than four chunks of them
        "Qwen3Next",
        _HYBRID | {"num_hidden_layers": 4, "num_experts": 7, "num_experts_per_tok": 3, "norm_topk_prob": True,
                   "linear_num_key_heads": 2, "linear_num_value_heads": 6, "linear_key_head_dim": 6,
                   "linear_value_head_dim": 10, "linear_conv_kernel_dim": 4},
    ),
    "qwen3-next-dense": (  # a layer without experts, as many value heads as key heads, chosen weights as they are
        "Qwen3Next",
        _HYBRID | {"num_hidden_layers": 3, "num_experts": 5, "num_experts_per_tok": 2, "norm_topk_prob": False,
                   "mlp_only_layers": [1], "layer_types": ["linear_attention", "linear_attention", "full_attention"],
                   "linear_num_key_heads": 3, "linear_num_value_heads": 3, "linear_key_head_dim": 14,
                   "linear_value_head_dim": 6, "linear_conv_kernel_dim": 3},
    ),
    "qwen3-5-moe": (
        "Qwen3_5MoeText",
        _HYBRID | {"num_hidden_layers": 4, "num_experts": 7, "num_experts_per_tok": 3, "linear_num_key_heads": 3,
                   "linear_num_value_heads": 6, "linear_key_head_dim": 10, "linear_value_head_dim": 14,
                   "linear_conv_kernel_dim": 4},
    ),
    "qwen3-5-moe-tied": (
        "Qwen3_5MoeText",
        _HYBRID | {"num_hidden_layers": 5, "num_experts": 5, "num_experts_per_tok": 2, "linear_num_key_heads": 2,
                   "linear_num_value_heads": 4, "linear_key_head_dim": 14, "linear_value_head_dim": 6,
                   "linear_conv_kernel_dim": 2, "tie_word_embeddings": True,
                   "layer_types": [*["full_attention", "linear_attention"] * 2, "linear_attention"]},
    ),
    "dense-biases": ("Qwen3", _DENSE | _G3 | {"attention_bias": True}),
    "gpt-oss": (  # a clamp that activations meet
        "GptOss",
        _SHARED | _G3
        | {"num_hidden_layers": 3, "intermediate_size": 19, "num_local_experts": 7, "num_experts_per_tok": 3,
           "sliding_window": 7, "swiglu_limit": 0.9, "swiglu_alpha": 1.3,
           "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 2.5, "truncate": False,
                               "original_max_position_embeddings": 16, "rope_theta": 100.0}},
    ),
    "gpt-oss-full-first": (
        "GptOss",
        _SHARED | _G8
        | {"hidden_size": 29, "num_hidden_layers": 4, "intermediate_size": 11, "num_local_experts": 5,
           "num_experts_per_tok": 2, "sliding_window": 13, "attention_bias": False, "tie_word_embeddings": True,
           "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
           "rope_theta": 150_000.0},
    ),
    "mistral": ("Mistral", _DENSE | _G3 | {"sliding_window": 13, "tie_word_embeddings": True}),
    "ministral": (
        "Ministral",
        _DENSE | _G8
        | {"sliding_window": 7, "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
    ),
    "gemma4": (  # wider global heads, fewer of keys, which are the values; experts beside a dense feed-forward
        "Gemma4Text",
        _SHARED | _G3
        | {"hidden_size": 24, "num_hidden_layers": 6, "intermediate_size": 19, "sliding_window": 5,
           "num_key_value_heads": 3, "global_head_dim": 14, "num_global_key_value_heads": 2, "attention_k_eq_v": True,
           "enable_moe_block": True, "num_experts": 7, "top_k_experts": 3, "moe_intermediate_size": 5,
           "hidden_size_per_layer_input": 0, "final_logit_softcapping": 2.0,
           "layer_types": 2 * ["sliding_attention", "sliding_attention", "full_attention"],
           "rope_parameters": {
               "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
               "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 3000.0},
           }},
    ),
    "gemma4-dense": (  # biases, values of their own, a head of its own, no cap
        "Gemma4Text",
        _SHARED | _G8
        | {"hidden_size": 26, "num_hidden_layers": 5, "intermediate_size": 19, "sliding_window": 13,
           "global_head_dim": 10, "attention_bias": True, "hidden_size_per_layer_input": 0,
           "tie_word_embeddings": False,
           "layer_types": ["full_attention", *3 * ["sliding_attention"], "full_attention"],
           "rope_parameters": {
               "sliding_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10.0},
               "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.7, "factor": 3.0,
                                  "rope_theta": 100.0},
           }},
    ),
})  # fmt: skip

LONG: Final = MappingProxyType({"qwen3-next": (1, 257), "qwen3-5-moe": (1, 257)})
"""Rows and tokens of cases that need others: a state goes through chunks of 64 tokens."""

FUSED: Final = ("moe-raw-top-k",)
"""Cases whose experts are saved as in memory, fused into one tensor a layer; transformers' default is the Hub's way."""


def build(case: str, seed: int, **changes: Any) -> transformers.PreTrainedModel:
    """The float32 model of a case, attention and experts in transformers' plainest code."""
    family, settings = CASES[case]
    settings = settings | changes
    theta = settings.pop("rope_theta", 10_000.0)
    settings.setdefault("rope_parameters", {"rope_type": "default", "rope_theta": theta})
    config = getattr(transformers, f"{family}Config")(
        **settings, attn_implementation="eager", experts_implementation="eager"
    )
    return drawn(transformers.AutoModelForCausalLM.from_config(config).float().eval(), seed)


def drawn(model: transformers.PreTrainedModel, seed: int) -> transformers.PreTrainedModel:
    """The model with weights from a seed: activations are of order one, so that an absolute tolerance means something,
    and no norm weight is 1."""
    is_gemma = model.config.model_type.startswith("gemma")
    adds_1 = model.config.model_type.startswith(("gemma3", "qwen3_next", "qwen3_5"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        scales = [(name, buffer) for name, buffer in model.named_buffers() if name.endswith("layer_scalar")]
        for name, weight in (*model.named_parameters(), *scales):
            if name.endswith("bias"):
                weight.normal_(0, 0.5, generator=generator)
            elif name.endswith(("A_log", "dt_bias")):  # decays from near 1 to near 0
                weight.uniform_(-4, 1, generator=generator)
            elif weight.ndim == 1:
                low = 0.5
                if name.endswith("sinks") or (adds_1 and "linear_attn" not in name):
                    low = -0.5  # a factor 1 more than what is stored
                weight.uniform_(low, low + 1, generator=generator)
                if name.endswith("q_norm.weight") and model.config.model_type == "gemma4_text":
                    weight *= len(weight) ** -0.5  # its scores are scaled by nothing else
            else:  # [..., out, in]; embedded tokens have unit variance, which Gemma scales them to
                std = 1.0 if "embed_tokens" in name and not is_gemma else weight.shape[-1] ** -0.5
                weight.normal_(0, std, generator=generator)
    return model


def compute(model: transformers.PreTrainedModel, seed: int, tokens: int, rows: int = BATCH) -> dict[str, np.ndarray]:
    """Random tokens [B, T], the logits of all of them, and the output of every layer [L, B, T, D].

    The layers are hooked: the last of transformers' own `hidden_states` has passed the final norm.
    """
    tokens_bt = torch.randint(VOCAB, (rows, tokens), generator=torch.Generator().manual_seed(seed))
    layers: list[torch.Tensor] = []
    hooks = [layer.register_forward_hook(lambda _, __, out: layers.append(out)) for layer in model.model.layers]
    with torch.no_grad():
        logits = model(tokens_bt, use_cache=False).logits
    for hook in hooks:
        hook.remove()
    return {"tokens": tokens_bt.int().numpy(), "logits": logits.numpy(), "layers": torch.stack(layers).numpy()}


def write(folder: Path, case: str, seed: int, tokens: int = TOKENS, **changes: Any) -> None:
    """A case, with `changes` of its settings, as a checkpoint folder with what transformers computes in golden.npz."""
    model = build(case, seed, **changes)
    model.save_pretrained(folder, save_original_format=case not in FUSED)
    (folder / "generation_config.json").unlink()
    rows, tokens = LONG.get(case, (BATCH, tokens))
    np.savez_compressed(folder / "golden.npz", **compute(model, seed, tokens, rows))


def main(wanted: Sequence[str]) -> None:
    transformers.utils.logging.disable_progress_bar()
    for seed, case in enumerate(CASES):
        if wanted and case not in wanted:
            continue
        shutil.rmtree(HERE / case, ignore_errors=True)
        write(HERE / case, case, seed)
    if not wanted:
        versions = {library.__name__: library.__version__ for library in (transformers, torch)}
        (HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
