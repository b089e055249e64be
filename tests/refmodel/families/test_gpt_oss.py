"""gpt-oss: what its config.json and its GGUF header say, what they leave out, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from refmodel.parts import ClampedSwish, Experts, Rope
from refmodel.presets import PRESETS
from refmodel.read_hf_config import from_hf
from refmodel.rope_scaling import Linear, Yarn, yarn_attention
from tests.checkpoints import from_gguf
from tests.refmodel.families.test_gguf_headers import MOE_KEYS, write_gguf

HF = {"model_type": "gpt_oss"}
SMALL = HF | {
    "num_hidden_layers": 3, "hidden_size": 20, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 14,
    "vocab_size": 17, "intermediate_size": 7, "num_local_experts": 11, "num_experts_per_tok": 3,
    "max_position_embeddings": 31, "rms_norm_eps": 1e-5, "sliding_window": 3,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 11, "truncate": False},
}  # fmt: skip
GGUF = MOE_KEYS | {
    "attention.sliding_window": 3, "rope.freq_base": 150_000.0, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 11,
}  # fmt: skip


def test_a_file_that_says_nothing_is_the_large_one():
    assert dataclasses.replace(from_hf(HF), name="gpt-oss-120b") == PRESETS["gpt-oss-120b"]
    small = from_hf(HF | {"num_hidden_layers": 24, "num_local_experts": 32})
    assert dataclasses.replace(small, name="gpt-oss-20b") == PRESETS["gpt-oss-20b"]


def test_parameters_are_as_its_makers_count_them():
    """116.83e9 and 20.91e9, of which a token meets 5.13e9 and 3.61e9, the head among them (2508.10925, table 1)."""
    for size, stored, active in (("120b", 116.83, 5.13), ("20b", 20.91, 3.61)):
        config = PRESETS[f"gpt-oss-{size}"]
        assert round(config.params / 1e9, 2) == stored
        assert round((config.linear_macs + config.head_macs) / 1e9, 2) == active


def test_both_kinds_of_files_say_the_same(tmp_path):
    config = from_hf(SMALL)
    assert [str(variant) for variant in config.layout] == ["swa(3)", "full", "swa(3)"]
    layer = config.layers[0]
    assert layer.feed_forward == Experts(11, 3, 7, activation=ClampedSwish(1.702, 7.0), bias=True)
    assert layer.sink_logits and layer.attention_bias == "qkvo" and not layer.qk_norm
    assert layer.rope == Rope(150_000.0, Yarn(4.0, 11, yarn_attention(4.0), truncate=False))
    tensors = ("token_embd.weight", "output.weight", *(f"blk.0.attn_{one}.bias" for one in ("q", "k", "v", "output")))
    header = from_gguf(write_gguf(tmp_path / "config.gguf", "gpt-oss", GGUF, tensors))
    assert dataclasses.replace(header, name="gpt_oss") == config


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        ({"swiglu_limit": 5, "swiglu_alpha": 1.5}, {"activation": ClampedSwish(1.5, 5.0)}),
        ({"num_experts": 5, "num_local_experts": None}, {"n_experts": 5}),
        ({"num_experts_per_tok": 2}, {"experts_per_token": 2}),
    ],
)
def test_experts_of_other_kinds(fields, change):
    experts = from_hf(SMALL).layers[0].feed_forward
    assert from_hf(SMALL | fields).layers[0].feed_forward == dataclasses.replace(experts, **change)


def test_layers_and_positions_of_other_kinds():
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    config = from_hf(SMALL | {"layer_types": kinds, "attention_bias": False, "rope_theta": 7.0,
                              "rope_scaling": {"type": "linear", "factor": 2.0}})  # fmt: skip
    assert [str(variant) for variant in config.layout] == ["full", "swa(3)", "full"]
    assert config.layers[0].attention_bias == "" and config.layers[0].rope == Rope(7.0, Linear(2.0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sliding_window": None}, "config: sliding_window is missing"),
        ({"swiglu_limit": 0.0}, "config: swiglu_limit must be above 0, got 0.0"),
        ({"swiglu_alpha": "steep"}, "config: swiglu_alpha must be of type float, got 'steep'"),
        ({"num_experts_per_tok": 12}, "experts_per_token must be in 1..11, got 12"),
        ({"layer_types": ["chunked_attention"] * 3}, "layer_types holds 'chunked_attention'; accepted: full_attention"),
    ],
)
def test_what_a_file_may_not_say(fields, message):
    with pytest.raises(ValueError, match=message):
        from_hf(SMALL | fields)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"expert_shared_count": 1}, "gpt-oss: expert_shared_count is 1; accepted: 0"),
        ({"swiglu_clamp_exp": [7.0, 7.0, 5.0]}, r"swiglu_clamp_exp is \[7.0, 7.0, 5.0\]; accepted: \[7.0, 7.0, 7.0\]"),
        ({"expert_gating_func": 2}, "gpt-oss: expert_gating_func is 2; accepted: 3"),
    ],
)
def test_what_a_header_may_not_say(tmp_path, keys, message):
    with pytest.raises(ValueError, match=message):
        from_gguf(write_gguf(tmp_path / "a.gguf", "gpt-oss", GGUF | keys))
