"""Config readers: the fields of both formats, and a refusal of every model that is not computed here."""

from __future__ import annotations

import json

import gguf
import numpy as np
import pytest

from attention.full import Full
from attention.sliding_window import SlidingWindow
from refmodel.decoder import decoder
from refmodel.parts import Dense, Experts, Rope
from refmodel.presets import preset
from refmodel.read_hf_config import from_hf
from tests.checkpoints import from_gguf

QWEN3_30B = {
    "model_type": "qwen3_moe", "num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936, "intermediate_size": 6144, "num_experts": 128,
    "num_experts_per_tok": 8, "moe_intermediate_size": 768, "norm_topk_prob": True, "mlp_only_layers": [],
    "decoder_sparse_step": 1, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "rope_scaling": None,
    "max_position_embeddings": 40960, "attention_bias": False, "hidden_act": "silu", "tie_word_embeddings": False,
    "use_sliding_window": False, "sliding_window": None, "max_window_layers": 48,
}  # fmt: skip
QWEN3 = {
    "model_type": "qwen3", "num_hidden_layers": 5, "hidden_size": 24, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 14, "vocab_size": 17, "intermediate_size": 13, "rms_norm_eps": 1e-06,
    "max_position_embeddings": 31, "sliding_window": 7, "max_window_layers": 3,
}  # fmt: skip
LLAMA = {key: QWEN3[key] for key in QWEN3 if key != "head_dim"} | {"model_type": "llama"}
FULL, WINDOW = Full(), SlidingWindow(7)


def without(config: dict, key: str) -> dict:
    return {k: v for k, v in config.items() if k != key}


def test_hf_moe_file_is_the_preset(tmp_path):
    folder = tmp_path / "qwen3-30b-a3b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(QWEN3_30B))
    assert from_hf(folder / "config.json") == preset("qwen3-30b-a3b")


def test_hf_moe_field_spellings():
    newer = without(without(QWEN3_30B, "num_experts"), "rope_theta") | {
        "num_local_experts": 9, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "norm_topk_prob": False,
        "mlp_only_layers": [2, 3], "decoder_sparse_step": 2, "num_hidden_layers": 6,
    }  # fmt: skip
    config = from_hf(newer)
    dense, sparse = config.layers[0], config.layers[1]
    assert (sparse.feed_forward, dense.feed_forward) == (Experts(9, 8, 768, norm_topk_prob=False), Dense(6144))
    assert dense.rope == sparse.rope == Rope(5e5)
    assert config.stacks == ("dense", "moe", "dense", "dense", "dense", "moe")


def test_hf_dense_and_llama_defaults():
    (layer,) = from_hf(QWEN3).distinct_layers
    assert (layer.heads.head_dim, layer.qk_norm, layer.feed_forward) == (14, True, Dense(13))
    llama = from_hf(without(LLAMA, "num_key_value_heads"))
    (layer,) = llama.distinct_layers
    assert (llama.head_dim, llama.n_kv_heads, layer.qk_norm, llama.tied_head) == (4, 6, False, False)
    assert (layer.rope.theta, llama.max_positions, llama.vocab_size, llama.n_layers) == (10_000.0, 31, 17, 5)
    assert from_hf(LLAMA | {"tie_word_embeddings": True, "head_dim": None}).tied_head


@pytest.mark.parametrize(
    ("fields", "absent", "sizes"),
    [
        (QWEN3, "num_key_value_heads", (32, 14)),
        (QWEN3, "head_dim", (2, 128)),
        (QWEN3_30B, "num_key_value_heads", (4, 128)),
        (QWEN3_30B, "head_dim", (4, 64)),
        (LLAMA | {"model_type": "mistral"}, "num_key_value_heads", (8, 4)),
        (LLAMA, "num_key_value_heads", (32, 4)),
        (LLAMA, "head_dim", (2, 4)),
    ],
)
def test_absent_sizes_are_the_family_s(fields, absent, sizes):
    """Those of transformers' configuration classes, which tests/parity holds them to; a null is not absent."""
    fields = without(fields | {"num_attention_heads": 32, "hidden_size": 2048 if fields is QWEN3_30B else 128}, absent)
    config = from_hf(fields)
    assert (config.n_kv_heads, config.head_dim) == sizes
    if absent == "num_key_value_heads":
        assert from_hf(fields | {absent: None}).n_kv_heads == 32


@pytest.mark.parametrize(
    ("fields", "layout"),
    [
        (QWEN3, (FULL,) * 5),
        (without(QWEN3, "max_window_layers") | {"use_sliding_window": True}, (FULL,) * 5),
        (
            without(without(QWEN3, "max_window_layers"), "sliding_window")
            | {"use_sliding_window": True, "num_hidden_layers": 30},
            (*(FULL,) * 28, *(SlidingWindow(4096),) * 2),
        ),
        (
            without(QWEN3_30B, "sliding_window") | {"use_sliding_window": True, "num_hidden_layers": 2},
            (SlidingWindow(4096),) * 2,
        ),
        (without(LLAMA, "sliding_window") | {"model_type": "mistral"}, (SlidingWindow(4096),) * 5),
        (QWEN3 | {"use_sliding_window": True}, (FULL, FULL, FULL, WINDOW, WINDOW)),
        (QWEN3 | {"use_sliding_window": True, "sliding_window": None}, (FULL,) * 5),
        (
            QWEN3 | {"use_sliding_window": True, "layer_types": ["sliding_attention"] + ["full_attention"] * 4},
            (WINDOW, FULL, FULL, FULL, FULL),
        ),
        (QWEN3_30B | {"use_sliding_window": True, "sliding_window": 7, "num_hidden_layers": 2}, (WINDOW,) * 2),
        (LLAMA, (FULL,) * 5),
        (LLAMA | {"model_type": "mistral"}, (WINDOW,) * 5),
        (LLAMA | {"model_type": "mistral", "sliding_window": None}, (FULL,) * 5),
    ],
)
def test_hf_windows(fields, layout):
    assert from_hf(fields).layout == layout


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            LLAMA | {"model_type": "gemma2"},
            "'gemma2'; accepted: 'qwen3_moe', 'qwen3', 'llama', 'mistral', 'g",
        ),
        (without(LLAMA, "model_type"), "model_type is missing"),
        (LLAMA | {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        (LLAMA | {"attention_bias": True}, "attention_bias is True"),
        (LLAMA | {"mlp_bias": True}, "mlp_bias is True"),
        (LLAMA | {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling: type is 'linear'"),
        (LLAMA | {"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters: rope_type is 'yarn'"),
        (LLAMA | {"rope_parameters": {"full_attention": {}}}, "rope_parameters holds full_attention"),
        (LLAMA | {"partial_rotary_factor": 0.25}, "partial_rotary_factor is 0.25"),
        (LLAMA | {"hidden_size": "24"}, "hidden_size must be of type int, got '24'"),
        (LLAMA | {"vocab_size": True}, "vocab_size must be of type int, got True"),
        (without(LLAMA, "rms_norm_eps"), "rms_norm_eps is missing"),
        (LLAMA | {"num_attention_heads": 0}, "n_heads must be at least 1"),
        (without(QWEN3_30B, "num_experts"), "num_local_experts is missing"),
        (QWEN3 | {"layer_types": ["sliding_attention"] * 5}, "layer_types holds 'sliding_attention'"),
    ],
)
def test_hf_refusals(fields, message):
    with pytest.raises(ValueError, match=message):
        from_hf(fields)


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_hf_unreadable_file_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config.json: "):
        from_hf(tmp_path / "config.json")


# ---------------------------------------------------------------------------------------------------------- GGUF

DENSE_KEYS = {
    "block_count": 3, "embedding_length": 20, "attention.head_count": 6, "attention.head_count_kv": 2,
    "feed_forward_length": 13, "context_length": 31, "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.key_length": 14, "attention.value_length": 14, "rope.freq_base": 5e6,
}  # fmt: skip
MOE_KEYS = DENSE_KEYS | {"expert_count": 11, "expert_used_count": 3, "expert_feed_forward_length": 7}


def write_gguf(path, arch, keys, tensors=("token_embd.weight",)):
    writer = gguf.GGUFWriter(path, arch)
    for key, value in keys.items():
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add[type(value)](f"{arch}.{key}", value)
    for name in tensors:
        writer.add_tensor(name, np.zeros((17, 20), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_dense(tmp_path):
    config = from_gguf(write_gguf(tmp_path / "a.gguf", "qwen3", DENSE_KEYS, ("token_embd.weight", "output.weight")))
    expected = decoder(
        "a", n_layers=3, d_model=20, n_heads=6, n_kv_heads=2, head_dim=14, vocab_size=17, d_ff=13, rope_theta=5e6,
        norm_eps=1e-5, max_positions=31,
    )  # fmt: skip
    assert config == expected


def test_gguf_moe_and_llama(tmp_path):
    moe = from_gguf(write_gguf(tmp_path / "a.gguf", "qwen3moe", MOE_KEYS))
    (layer,) = moe.distinct_layers
    assert (layer.feed_forward, moe.tied_head, layer.qk_norm) == (Experts(11, 3, 7), True, True)
    assert not from_gguf(write_gguf(tmp_path / "b.gguf", "llama", DENSE_KEYS)).layers[0].qk_norm


@pytest.mark.parametrize(
    ("arch", "keys", "message"),
    [
        ("gemma2", DENSE_KEYS, "general.architecture is 'gemma2'; accepted: 'gemma3', 'llama', 'qwen3', 'qwen3moe'"),
        ("qwen3", without(DENSE_KEYS, "block_count"), "qwen3: block_count is missing"),
        ("qwen3moe", DENSE_KEYS, "qwen3moe: expert_count is missing"),
        ("qwen3moe", MOE_KEYS | {"expert_shared_count": 1}, "expert_shared_count is 1"),
        ("llama", MOE_KEYS, "llama: expert_count is 11"),
        ("llama", DENSE_KEYS | {"rope.scaling.type": "yarn"}, "rope.scaling.type is 'yarn'"),
        ("llama", DENSE_KEYS | {"rope.scaling.factor": 4.0}, "rope.scaling.factor is 4.0"),
        ("llama", DENSE_KEYS | {"rope.scale_linear": 2.0}, "rope.scale_linear is 2.0"),
        ("llama", DENSE_KEYS | {"rope.dimension_count": 7}, "rope.dimension_count is 7; accepted: 14"),
        ("llama", DENSE_KEYS | {"attention.value_length": 12}, "attention.value_length is 12"),
        ("llama", DENSE_KEYS | {"attention.sliding_window": 8}, "attention.sliding_window is 8"),
    ],
)
def test_gguf_refusals(tmp_path, arch, keys, message):
    with pytest.raises(ValueError, match=message):
        from_gguf(write_gguf(tmp_path / "a.gguf", arch, keys))


def test_gguf_without_embedding(tmp_path):
    with pytest.raises(ValueError, match=r"token_embd.weight is missing"):
        from_gguf(write_gguf(tmp_path / "a.gguf", "llama", DENSE_KEYS, ("output.weight",)))


def test_gguf_unreadable_file_is_named(tmp_path):
    whole = write_gguf(tmp_path / "whole.gguf", "llama", DENSE_KEYS).read_bytes()
    swapped = whole[:4] + whole[4:8][::-1] + whole[8:]
    for content in (b"", b"something else entirely", whole[:100], whole[:-40], swapped):
        broken = tmp_path / "broken.gguf"
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken.gguf: not a readable GGUF file"):
            from_gguf(broken)
    with pytest.raises(ValueError, match=r"absent.gguf: not a readable GGUF file"):
        from_gguf(tmp_path / "absent.gguf")
