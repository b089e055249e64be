"""What a config.json means by a field that it leaves out: transformers' configuration classes decide."""

from __future__ import annotations

import pytest

from refmodel.read_hf_config import from_hf

transformers = pytest.importorskip("transformers")

SIZES = {
    "num_hidden_layers": 31, "hidden_size": 192, "num_attention_heads": 32, "vocab_size": 17, "intermediate_size": 13,
    "rms_norm_eps": 1e-6, "max_position_embeddings": 29,
}  # fmt: skip
MOE = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 7}
FAMILIES = {
    "qwen3": (transformers.Qwen3Config, {}),
    "qwen3_moe": (transformers.Qwen3MoeConfig, MOE),
    "llama": (transformers.LlamaConfig, {}),
    "mistral": (transformers.MistralConfig, {}),
}


@pytest.mark.parametrize("slides", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_absent_fields_are_what_transformers_takes_them_for(family, slides):
    kind, more = FAMILIES[family]
    fields = SIZES | more | ({"use_sliding_window": True} if slides and family.startswith("qwen3") else {})
    theirs, ours = kind(**fields), from_hf(fields | {"model_type": family})
    head_dim = getattr(theirs, "head_dim", None) or theirs.hidden_size // theirs.num_attention_heads
    assert (ours.n_kv_heads, ours.head_dim) == (theirs.num_key_value_heads, head_dim)
    window = getattr(theirs, "sliding_window", None)
    kinds = getattr(theirs, "layer_types", None) or [f"{'sliding' if window else 'full'}_attention"] * 31
    assert [str(variant) for variant in ours.layout] == [
        f"swa({window})" if one == "sliding_attention" else "full" for one in kinds
    ]
    assert ours.tied_head == theirs.tie_word_embeddings
    assert ours.layers[0].rope.theta == theirs.rope_parameters["rope_theta"]
