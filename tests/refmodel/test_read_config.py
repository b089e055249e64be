"""Config readers: the fields of both formats, and a refusal of every model that is not computed here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from attention.full import Full
from attention.sliding_window import SlidingWindow
from refmodel.json_object import read_object
from refmodel.parts import Dense, Experts, Rope
from refmodel.presets import preset
from refmodel.read_hf_config import from_hf

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
            "'gemma2'; accepted: 'qwen3_moe', 'qwen3', 'q",
        ),
        (without(LLAMA, "model_type"), "model_type is missing"),
        (
            LLAMA | {"dual_chunk_attention_config": {"chunk_size": 9}},
            "dual_chunk_attention_config asks for attention th",
        ),
        (LLAMA | {"hidden_size": "24"}, "hidden_size must be of type int, got '24'"),
        (LLAMA | {"vocab_size": True}, "vocab_size must be of type int, got True"),
        (without(LLAMA, "hidden_size"), "hidden_size is missing"),
        (LLAMA | {"num_attention_heads": 0}, "n_heads must be at least 1"),
        (without(QWEN3_30B, "num_experts"), "num_local_experts is missing"),
        (QWEN3 | {"layer_types": ["sliding_attention"] * 5}, "layer_types holds 'sliding_attention'"),
    ],
)
def test_hf_refusals(fields, message):
    with pytest.raises(ValueError, match=message):
        from_hf(fields)


@pytest.mark.parametrize(("name", "most"), [("config.json", 2**20), ("tokenizer.json", 40_000_000)])
def test_a_file_longer_than_any_is_not_read(tmp_path, monkeypatch, name, most):
    (tmp_path / name).write_text("{}")
    os.truncate(tmp_path / name, most + 1)  # nothing on disk
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it is read"))
    with pytest.raises(ValueError, match=rf"{name}: not readable as text \(it is longer than {most:,} bytes\)"):
        read_object(tmp_path / name)


@pytest.mark.parametrize("content", [None, "{", "[1]", "[" * 200_000, '{"a": ' + "9" * 5_000 + "}"])
def test_hf_unreadable_file_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config.json: "):
        from_hf(tmp_path / "config.json")
