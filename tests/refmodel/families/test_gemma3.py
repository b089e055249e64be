"""Gemma 3's files: both spellings of config.json, GGUF headers and tensors, and a refusal of what is not computed."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from attention.sliding_window import SlidingWindow
from refmodel.parts import Norm, Rope
from refmodel.presets import preset
from refmodel.read_hf_config import from_hf
from refmodel.rope_scaling import Linear
from tests.checkpoints import from_gguf, load
from tests.refmodel.families import gemma_gguf

GOLDEN = Path(__file__).parents[2] / "golden" / "gemma3"
FIELDS = json.loads((GOLDEN / "config.json").read_text())
HEADER = {
    "block_count": 7, "embedding_length": 24, "attention.head_count": 6, "attention.head_count_kv": 2,
    "attention.key_length": 10, "attention.value_length": 10, "feed_forward_length": 19, "context_length": 41,
    "attention.layer_norm_rms_epsilon": 1e-3, "attention.sliding_window": 5, "rope.freq_base": 1e4,
    "rope.scaling.type": "linear", "rope.scaling.factor": 8.0,
}  # fmt: skip
STORED_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.o_proj": "attn_output",
    **{f"self_attn.{x}_proj": f"attn_{x}" for x in "qkv"},
    **{f"mlp.{x}_proj": f"ffn_{x}" for x in ("gate", "up", "down")},
}  # fmt: skip


def test_every_layer_has_its_own_positions_and_norms():
    config = from_hf(FIELDS)
    windows = [isinstance(layer.mixer, SlidingWindow) for layer in config.layers]
    assert windows == [True] * 5 + [False, True]
    assert [layer.rope for layer in config.layers] == [
        Rope(10.0) if window else Rope(1e4, Linear(8.0)) for window in windows
    ]
    assert {layer.norm for layer in config.layers} == {config.final_norm} == {Norm(1e-3, offset=1.0, after=True)}
    assert config.layers[0].query_factor == pytest.approx((10 / 17) ** 0.5)
    assert config.embedding_scale == 24**0.5 and config.tied_head


def test_the_older_spelling_is_the_same_model():
    newer = ("rope_parameters", "layer_types", "_sliding_window_pattern")
    older = {key: value for key, value in FIELDS.items() if key not in newer} | {
        "rope_theta": 1e4, "rope_local_base_freq": 10.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "sliding_window_pattern": 6,
    }  # fmt: skip
    assert from_hf(older) == from_hf(FIELDS)


def test_a_field_without_a_name_is_none_of_positions():
    assert from_hf(FIELDS | {"": 7}) == from_hf(FIELDS)


def test_what_files_on_the_hub_leave_out():
    """What gemma-3-4b's `text_config` holds, and no more than that."""
    found = from_hf(
        {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 34,
         "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}
    )  # fmt: skip
    assert found.layers == preset("gemma3-4b").layers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ({"layer_types": ["chunked_attention"] * 7}, "layer_types holds 'chunked_attention'"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        from_hf(FIELDS | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_activation": "relu"}, "hidden_activation is 'relu'"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0"),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_parameters holds rope_type; accepted: full_attention"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "ntk"}}},
            "positions of full_attention: rope_type is 'ntk'; accepted: 'default', 'linear'",
        ),
        (
            {"rope_parameters": {"sliding_attention": {"rope_type": "yarn", "factor": "4"}}},
            "factor must be of type float",
        ),
    ],
)
def test_what_costs_do_not_need_is_counted_and_not_run(change, message):
    found = from_hf(FIELDS | change)
    assert message in found.cannot_run and found.linear_macs == from_hf(FIELDS).linear_macs


def write_gguf(path: Path, **more: object) -> Path:
    """The golden checkpoint as llama.cpp's converter writes it: every norm's weight and 1."""
    tensors = load_file(GOLDEN / "model.safetensors").items()
    stored = ((gguf_name(name), x + 1 if name.endswith("norm.weight") else x) for name, x in tensors)
    return gemma_gguf.write(path, "gemma3", HEADER | more, stored)


def gguf_name(name: str) -> str:
    return gemma_gguf.stored_name(name, lambda rest: f"{STORED_NAMES[rest.removesuffix('.weight')]}.weight")


def test_a_gguf_file_gives_the_same_parameters(tmp_path):
    path = write_gguf(tmp_path / "m.gguf")
    found, params = load(path, jnp.float32)
    assert found == from_gguf(path)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-7), params, load(GOLDEN, jnp.float32)[1])
    assert [str(layer.mixer) for layer in found.layers] == ["swa(5)"] * 5 + ["full", "swa(5)"]
    assert {layer.rope for layer in found.layers} == {Rope(1e4), Rope(1e4, Linear(8.0))}
    assert found.layers[0].softmax_scale is None  # H^-1/2, as in all but the largest of the family
    assert preset("gemma3-27b").layers[0].softmax_scale == 168**-0.5


@pytest.mark.parametrize(
    ("pattern", "full"),
    [(3, (2, 5)), (1, range(7)), (0, ()), ([True, False, True, True, True, True, False], (1, 6)), (None, (5,))],
)
def test_the_pattern_of_windows_is_the_file_s(tmp_path, pattern, full):
    """As llama.cpp reads it (`set_swa_pattern`): the last of so many layers sees all, none at 0; or layer by layer."""
    told = {} if pattern is None else {"attention.sliding_window_pattern": pattern}
    found = from_gguf(write_gguf(tmp_path / "m.gguf", **told, **{"rope.freq_base_swa": 20.0}))
    assert [str(layer.mixer) == "full" for layer in found.layers] == [i in full for i in range(7)]
    windows = {layer.rope for layer in found.layers if str(layer.mixer) != "full"}
    assert windows == ({Rope(20.0)} if len(full) < 7 else set())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"final_logit_softcapping": 30.0}, "gemma3: final_logit_softcapping is 30.0; accepted: 0"),
        ({"attn_logit_softcapping": 50.0}, "gemma3: attn_logit_softcapping is 50.0; accepted: 0"),
        ({"rope.freq_base_swa": -1.0}, "gemma3: rope.freq_base_swa must be above 0, got -1.0"),
        ({"rope.freq_base": -1.0}, "gemma3: rope.freq_base must be above 0, got -1.0"),
    ],
)
def test_what_costs_of_a_gguf_file_do_not_need_is_counted_and_not_run(tmp_path, change, message):
    assert from_gguf(write_gguf(tmp_path / "m.gguf", final_logit_softcapping=0.0)).cannot_run == ""
    found = from_gguf(write_gguf(tmp_path / "m.gguf", **change))
    assert message in found.cannot_run and found.linear_macs == from_hf(FIELDS).linear_macs
