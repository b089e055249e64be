"""Gemma 4's files: spellings of config.json, llama.cpp's headers and tensors, and a refusal of what is not computed."""

from __future__ import annotations

import json
from pathlib import Path

import chex
import gguf
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from attention.cost import Heads
from refmodel.checkpoint import open_checkpoint
from refmodel.parts import Dense, Experts, Norm, Rope
from refmodel.presets import preset
from refmodel.read_hf_config import from_hf
from refmodel.rope_scaling import Linear, Proportional
from tests.checkpoints import from_gguf, load
from tests.refmodel.families import gemma_gguf

GOLDEN = Path(__file__).parents[2] / "golden"
FIELDS = json.loads((GOLDEN / "gemma4" / "config.json").read_text())
DENSE = json.loads((GOLDEN / "gemma4-dense" / "config.json").read_text())
HEADER = {
    "block_count": 6, "embedding_length": 24, "attention.head_count": 6, "attention.head_count_kv": [3, 3, 2, 3, 3, 2],
    "attention.key_length": 14, "attention.value_length": 14, "attention.key_length_swa": 10,
    "attention.value_length_swa": 10, "rope.dimension_count": 14, "rope.dimension_count_swa": 10,
    "feed_forward_length": 19, "context_length": 41, "attention.layer_norm_rms_epsilon": 1e-3,
    "attention.sliding_window": 5, "attention.sliding_window_pattern": [True, True, False] * 2,
    "rope.freq_base": 3000.0, "rope.freq_base_swa": 1000.0, "expert_count": 7,
    "expert_used_count": 3, "expert_feed_forward_length": 5,
    "final_logit_softcapping": 2.0, "attention.shared_kv_layers": 0, "embedding_length_per_layer_input": 0,
}  # fmt: skip
EXPERTS = Experts(7, 3, 5, activation="gelu_tanh", beside=Dense(19, "gelu_tanh"))
STORED_NAMES = {
    "input_layernorm.weight": "attn_norm.weight", "post_attention_layernorm.weight": "post_attention_norm.weight",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight", "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
    "post_feedforward_layernorm_1.weight": "post_ffw_norm_1.weight", "layer_scalar": "layer_output_scale.weight",
    "post_feedforward_layernorm_2.weight": "post_ffw_norm_2.weight", "router.scale": "ffn_gate_inp.scale",
    "pre_feedforward_layernorm_2.weight": "pre_ffw_norm_2.weight", "router.per_expert_scale": "ffn_down_exps.scale",
    "router.proj.weight": "ffn_gate_inp.weight", "experts.gate_up_proj": "ffn_gate_up_exps.weight",
    "experts.down_proj": "ffn_down_exps.weight", "self_attn.o_proj.weight": "attn_output.weight",
    **{f"self_attn.{x}_norm.weight": f"attn_{x}_norm.weight" for x in "qk"},
    **{f"self_attn.{x}_proj.weight": f"attn_{x}.weight" for x in "qkv"},
    **{f"mlp.{x}_proj.weight": f"ffn_{x}.weight" for x in ("gate", "up", "down")},
}  # fmt: skip


def test_every_layer_has_its_own_heads_positions_and_values():
    config = from_hf(FIELDS)
    local, world = config.layers[0], config.layers[2]
    assert config.layers == (local, local, world) * 2 and config.stacks == ("moe", "moe", "global_moe") * 2
    assert [str(one.mixer) for one in (local, world)] == ["swa(5)", "full"]
    assert (local.heads, world.heads) == (Heads(6, 3, 10, 24), Heads(6, 2, 14, 24))
    assert (local.rope, world.rope) == (Rope(1000.0), Rope(3000.0, Proportional(3)))
    assert (local.value_is_key, world.value_is_key) == (False, True)
    assert {(one.feed_forward, one.norm, one.softmax_scale) for one in config.layers} == {
        (EXPERTS, Norm(1e-3, after=True, wide=True), 1.0)
    }
    assert (config.embedding_scale, config.logit_cap, config.tied_head) == (24**0.5, 2.0, True)


def test_without_experts_and_with_biases():
    config = from_hf(DENSE)
    assert {one.feed_forward for one in config.layers} == {Dense(19, "gelu_tanh")}
    assert {one.attention_bias for one in config.layers} == {"qkvo"} and config.logit_cap is None
    assert {one.rope for one in config.layers} == {Rope(10.0, Linear(2.0)), Rope(100.0, Proportional(3, 3.0))}
    values_are_keys = from_hf(DENSE | {"attention_k_eq_v": True})
    assert {one.attention_bias for one in values_are_keys.layers} == {"qkvo", "qko"}


def test_the_first_frequencies_turn_and_the_others_stand_still():
    turning = [100.0 ** (-2 * i / 14) / 3 for i in range(3)]
    np.testing.assert_allclose(Proportional(3, 3.0).frequencies(100.0, 14), [*turning, 0, 0, 0, 0], rtol=1e-12)
    llama = {key: FIELDS[key] for key in ("hidden_size", "vocab_size", "intermediate_size", "num_hidden_layers")} | {
        "model_type": "llama", "num_attention_heads": 2, "head_dim": 10,
        "rope_parameters": {"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2.0},
    }  # fmt: skip
    assert {one.rope for one in from_hf(llama).layers} == {Rope(10_000.0, Proportional(2, 2.0))}


def spelled(fields, **more):
    """As the Hub has it: sizes of global layers in fields of their own."""
    return {key: value for key, value in fields.items() if key != "per_layer_config"} | more


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (FIELDS, spelled(FIELDS, global_head_dim=14, num_global_key_value_heads=2)),
        (
            DENSE,
            spelled(DENSE, global_head_dim=10, num_global_key_value_heads=1),
        ),  # which only keys that are values have
        (FIELDS, FIELDS | {"use_bidirectional_attention": "vision"}),
        (FIELDS, FIELDS | {"layer_types": [*FIELDS["layer_types"][:-1], "sliding_attention"]}),  # the last sees all
        (FIELDS, {"model_type": "gemma4", "text_config": FIELDS, "vision_config": {"hidden_size": 7}}),
    ],
)
def test_spellings_of_the_same_model(ours, theirs):
    assert from_hf(theirs).layers == from_hf(ours).layers


def test_what_files_on_the_hub_say():
    """The fields of gemma-4-26B-A4B's and gemma-4-31B's `text_config` that are not the class's defaults.

    The feed-forward width of the 31B is not known here: as the preset, this takes that of gemma3-27b.
    """
    shared = {
        "vocab_size": 262_144, "sliding_window": 1024, "attention_k_eq_v": True, "hidden_size_per_layer_input": 0,
        "final_logit_softcapping": 30.0, "max_position_embeddings": 262_144, "global_head_dim": 512,
    }  # fmt: skip
    sparse = shared | {
        "hidden_size": 2816, "num_hidden_layers": 30, "num_attention_heads": 16, "num_key_value_heads": 8,
        "num_global_key_value_heads": 2, "intermediate_size": 2112, "enable_moe_block": True, "num_experts": 128,
        "top_k_experts": 8, "moe_intermediate_size": 704,
    }  # fmt: skip
    dense = shared | {
        "hidden_size": 5376, "num_hidden_layers": 60, "num_attention_heads": 32, "num_key_value_heads": 16,
        "num_global_key_value_heads": 4,
        "intermediate_size": preset("gemma3-27b").layers[0].feed_forward.d_ff,
    }  # fmt: skip
    for name, text in (("gemma4-26b-a4b", sparse), ("gemma4-31b", dense)):
        found, expected = from_hf({"model_type": "gemma4", "text_config": text}), preset(name)
        assert found.layers == expected.layers and not expected.cannot_run
        assert (found.outside, found.logit_cap) == (expected.outside, 30.0)
        assert (found.max_positions, found.embedding_scale) == (expected.max_positions, expected.embedding_scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_kv_shared_layers": 2}, "num_kv_shared_layers is 2; accepted: 0"),
        ({"hidden_size_per_layer_input": 8}, "hidden_size_per_layer_input is 8; accepted: 0"),
        ({"use_bidirectional_attention": "all"}, "use_bidirectional_attention is 'all'; accepted: 'vision'"),
        ({"layer_types": ["chunked_attention"] * 6}, "layer_types holds 'chunked_attention'"),
        ({"final_logit_softcapping": 0}, "final_logit_softcapping must be above 0"),
        ({"num_experts": None}, "num_experts is missing"),
        (
            {"per_layer_config": {"2": {"hidden_size": 7}}},
            "per_layer_config: 2 holds hidden_size; accepted: head_dim, num",
        ),
        ({"per_layer_config": {"2": {"head_dim": 14}}}, "must hold the same sizes for the layers of full_attention"),
        (
            {"per_layer_config": {"2": {"head_dim": 14}, "5": {"head_dim": 16}}},
            "must hold the same sizes for the layers of full_attention",
        ),
        ({"per_layer_config": {"2": 14}}, "per_layer_config: 2 must be of type dict, got 14"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        from_hf(FIELDS | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_activation": "relu"}, "hidden_activation is 'relu'"),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_parameters holds rope_type; accepted: full_attention"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 7.0}}}, "sliding_attention is missing"),
        (
            {"rope_parameters": FIELDS["rope_parameters"]
             | {"full_attention": {"rope_type": "proportional", "rope_theta": 7.0, "partial_rotary_factor": 1.5}}},
            "partial_rotary_factor must be from 0 to 1, got 1.5",
        ),
    ],
)  # fmt: skip
def test_what_costs_do_not_need_is_counted_and_not_run(change, message):
    found = from_hf(FIELDS | change)
    assert message in found.cannot_run and found.linear_macs == from_hf(FIELDS).linear_macs


def write_gguf(path: Path, *, fused: bool = True, **more: object) -> Path:
    """The golden checkpoint as llama.cpp's converter writes it."""
    stored = {}
    for name, tensor in load_file(GOLDEN / "gemma4" / "model.safetensors").items():
        known = gguf_name(name)
        if known.endswith("gate_up_exps.weight") and not fused:
            gate, up = np.split(tensor, 2, axis=1)
            stored |= {known.replace("gate_up", "gate"): gate, known.replace("gate_up", "up"): up}
        else:
            stored[known] = tensor
    stored["rope_freqs.weight"] = np.array([1, 1, 1, 1e30, 1e30, 1e30, 1e30], np.float32)
    return gemma_gguf.write(path, "gemma4", HEADER | more, stored.items())


def gguf_name(name: str) -> str:
    return gemma_gguf.stored_name(name, STORED_NAMES.__getitem__)


def test_the_names_are_those_of_the_package_gguf():
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA4, 1)
    for ours, theirs in STORED_NAMES.items():
        if not theirs.endswith(".scale"):  # two that the converter names itself
            assert (
                known.get_name(f"model.layers.0.{ours.removesuffix('.weight')}")
                == f"blk.0.{theirs.removesuffix('.weight')}"
            )


@pytest.mark.parametrize("fused", [True, False])
def test_a_gguf_file_is_the_same_model_bit_for_bit(tmp_path, fused):
    found, params = load(write_gguf(tmp_path / "m.gguf", fused=fused), jnp.float32)
    expected, golden = load(GOLDEN / "gemma4", jnp.float32)
    assert found.layers == expected.layers and found.outside == expected.outside
    assert (found.logit_cap, found.tied_head, found.max_positions) == (2.0, True, 41)
    chex.assert_trees_all_equal(params, golden)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention.shared_kv_layers": 2}, "attention.shared_kv_layers is 2; accepted: 0"),
        ({"embedding_length_per_layer_input": 8}, "embedding_length_per_layer_input is 8; accepted: 0"),
        (
            {"attention.head_count_kv": [3, 3, 2, 3, 2, 2]},
            "attention.head_count_kv must hold a number for each of 6 lay",
        ),
        ({"attention.head_count_kv": [3, 2]}, r"the same for all with a window and for all without, got \[3, 2\]"),
        ({"attention.head_count_kv": [[3], [3], [2], [3], [3], [2]]}, "must hold a number for each of 6 layers"),
        ({"final_logit_softcapping": -2.0}, "final_logit_softcapping must be above 0, got -2.0"),
        ({"attention.value_length_swa": 12}, "attention.value_length is 12; accepted: 10"),
    ],
)
def test_headers_that_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        from_gguf(write_gguf(tmp_path / "m.gguf", **change))


def test_a_header_without_experts_and_without_a_cap(tmp_path):
    found = from_gguf(
        write_gguf(tmp_path / "m.gguf", expert_count=0, final_logit_softcapping=0.0, **{"attention.head_count_kv": 2})
    )
    assert {one.feed_forward for one in found.layers} == {Dense(19, "gelu_tanh")} and found.logit_cap is None
    assert {one.heads.n_kv_heads for one in found.layers} == {2}


def test_what_sees_and_hears_is_left_out(tmp_path):
    tensors = load_file(GOLDEN / "gemma4" / "model.safetensors")
    renamed = {f"model.language_{name}": tensor for name, tensor in tensors.items()}
    extra = np.zeros((2, 3), np.float32)
    others = {"model.vision_tower.x.weight": extra, "model.embed_vision.y": extra, "model.audio_tower.z": extra}
    save_file(renamed | others, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma4", "text_config": FIELDS}))
    checkpoint = open_checkpoint(tmp_path)
    chex.assert_trees_all_equal(checkpoint.params(jnp.float32), load(GOLDEN / "gemma4", jnp.float32)[1])
    assert [said.partition(": left out: ")[2] for said in checkpoint.remarks()] == [
        "2 tensors of what sees pictures", "1 tensors of what hears"
    ]  # fmt: skip
