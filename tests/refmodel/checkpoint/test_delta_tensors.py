"""The hybrids' checkpoints: GGUF files and multimodal folders hold the tree of the plain folder, bit for bit."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import chex
import gguf
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import refmodel
from refmodel.checkpoint import open_checkpoint
from tests.checkpoints import load

GOLDEN = Path(__file__).parents[2] / "golden"
NORMS = ("layernorm.weight", "_norm.weight", "model.norm.weight")


def fields_of(case):
    return json.loads((GOLDEN / case / "config.json").read_text(encoding="utf-8"))


def tensors_of(case):
    """Of a golden folder, norms rounded to what stays exact when 1 is added."""
    stored = load_file(GOLDEN / case / "model.safetensors")
    return {name: np.round(x * 512) / 512 if name.endswith(NORMS) else x for name, x in stored.items()}


def folder(path, tensors, fields):
    path.mkdir()
    save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    return path


def tiled(rows, f):
    """Rows of value heads as llama.cpp's converter has them: row r·N + k is the head k·G + r."""
    n, m = f["linear_num_key_heads"], f["linear_num_value_heads"]
    heads = rows.reshape(m, -1)
    return np.stack([heads[k * (m // n) + r] for r in range(m // n) for k in range(n)]).reshape(rows.shape)


def apart(x, f):
    """Qwen3-Next's projections, each key head's q, k, v and z after the other's: q|k|v, and z."""
    n, h = f["linear_num_key_heads"], f["linear_key_head_dim"]
    values = f["linear_num_value_heads"] // n * f["linear_value_head_dim"]
    parts = np.split(x.reshape(n, -1, x.shape[-1]), np.cumsum([h, h, values]), axis=1)
    q, k, v, z = (part.reshape(-1, x.shape[-1]) for part in parts)
    return np.concatenate([q, k, v]), z


DIRECT = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "linear_attn.norm": "ssm_norm",
    "linear_attn.in_proj_ba": "ssm_ba", "mlp.gate": "ffn_gate_inp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    **{f"mlp.shared_expert.{x}_proj": f"ffn_{x}_shexp" for x in ("gate", "up", "down")},
}  # fmt: skip
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def as_gguf(name, x, f, together):
    """{GGUF name: tensor} of one of the folder's."""
    base = name.removesuffix(".weight")
    x = x + 1 if name.endswith(NORMS) and "linear_attn" not in name else x
    if base in OUTSIDE:
        return {f"{OUTSIDE[base]}.weight": x}
    _, _, layer, own = base.split(".", 3)
    keys = 2 * f["linear_num_key_heads"] * f["linear_key_head_dim"]
    tile = (lambda rows: tiled(rows, f)) if "qwen3_5" in f["model_type"] else (lambda rows: rows)
    if own == "linear_attn.in_proj_qkvz":
        qkv, z = apart(x, f)
        made = {"ssm_in.weight": x} if together else {"attn_qkv.weight": qkv, "attn_gate.weight": z}
    elif own in DIRECT:
        made = {f"{DIRECT[own]}.weight": x[0] if own == "mlp.shared_expert_gate" else x}
    else:
        made = {
            "linear_attn.in_proj_qkv": lambda: {"attn_qkv.weight": np.concatenate([x[:keys], tile(x[keys:])])},
            "linear_attn.in_proj_z": lambda: {"attn_gate.weight": tile(x)},
            "linear_attn.in_proj_a": lambda: {"ssm_alpha.weight": tile(x)},
            "linear_attn.in_proj_b": lambda: {"ssm_beta.weight": tile(x)},
            "linear_attn.conv1d": lambda: {"ssm_conv1d.weight": np.concatenate([x[:keys, 0], tile(x[keys:, 0])])},
            "linear_attn.A_log": lambda: {"ssm_a": tile(-np.exp(x))},
            "linear_attn.dt_bias": lambda: {"ssm_dt.bias": tile(x)},
            "linear_attn.out_proj": lambda: {"ssm_out.weight": tile(x.T.copy()).T},
            "mlp.experts.gate_up_proj": lambda: {"ffn_gate_up_exps.weight": x},
            "mlp.experts.down_proj": lambda: {"ffn_down_exps.weight": x},
        }[own]()
    return {f"blk.{layer}.{end}": tensor for end, tensor in made.items()}


def joined_experts(tensors, fused):
    """Experts that are stored one by one, in one tensor a layer."""
    names = {name.split(".experts.")[0] for name in tensors if ".experts.0." in name}
    made = {name: x for name, x in tensors.items() if ".experts." not in name or not names}
    for layer in names:
        experts = range(sum(name.startswith(f"{layer}.experts.") for name in tensors) // 3)
        gate, up, down = (
            np.stack([tensors[f"{layer}.experts.{e}.{x}_proj.weight"] for e in experts]) for x in ("gate", "up", "down")
        )
        number = layer.split(".")[2]
        if fused:
            made |= {f"{layer}.experts.gate_up_proj": np.concatenate([gate, up], 1), f"{layer}.experts.down_proj": down}
        else:
            each = {"gate": gate, "up": up, "down": down}
            made |= {f"blk.{number}.ffn_{x}_exps.weight": y for x, y in each.items()}
    return made


def write_gguf(path, arch, f, tensors, together=False, fused=True, **other):
    writer = gguf.GGUFWriter(path, arch)
    rope = f["rope_parameters"]
    numbers = {
        "block_count": f["num_hidden_layers"], "context_length": f["max_position_embeddings"],
        "embedding_length": f["hidden_size"], "attention.head_count": f["num_attention_heads"],
        "attention.head_count_kv": f["num_key_value_heads"], "attention.key_length": f["head_dim"],
        "attention.value_length": f["head_dim"],
        "rope.dimension_count": int(f["head_dim"] * rope["partial_rotary_factor"]),
        "expert_count": f["num_experts"], "expert_used_count": f["num_experts_per_tok"],
        "expert_feed_forward_length": f["moe_intermediate_size"],
        "expert_shared_feed_forward_length": f["shared_expert_intermediate_size"],
        "ssm.conv_kernel": f["linear_conv_kernel_dim"], "ssm.state_size": f["linear_key_head_dim"],
        "ssm.group_count": f["linear_num_key_heads"], "ssm.time_step_rank": f["linear_num_value_heads"],
        "ssm.inner_size": f["linear_num_value_heads"] * f["linear_value_head_dim"], "full_attention_interval": 4,
    }  # fmt: skip
    for key, value in (numbers | other).items():
        writer.add_uint32(f"{arch}.{key}", value)
    writer.add_float32(f"{arch}.rope.freq_base", rope["rope_theta"])
    writer.add_layer_norm_rms_eps(f["rms_norm_eps"])
    for name, x in joined_experts(tensors, fused).items():
        for own, tensor in ({name: x} if name.startswith("blk.") else as_gguf(name, x, f, together)).items():
            writer.add_tensor(own, np.ascontiguousarray(tensor, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("case", "arch", "together", "fused"),
    [
        ("qwen3-5-moe", "qwen35moe", False, True), ("qwen3-5-moe", "qwen35moe", False, False),
        ("qwen3-next", "qwen3next", False, True), ("qwen3-next", "qwen3next", True, False),
    ],
)  # fmt: skip
def test_a_gguf_file_is_the_folder(case, arch, together, fused, tmp_path):
    fields, tensors = fields_of(case), tensors_of(case)
    config, params = load(folder(tmp_path / "hf", tensors, fields), jnp.float32)
    found, tree = load(write_gguf(tmp_path / "a.gguf", arch, fields, tensors, together, fused), jnp.float32)
    assert (found.layers, found.vocab_size, found.tied_head) == (config.layers, config.vocab_size, config.tied_head)
    chex.assert_trees_all_equal(tree, params)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("rope.dimension_count", 3, "rotates no pairs of dimensions"),
        ("ssm.inner_size", 49, "ssm.inner_size 49 is no multiple of ssm.time_step_rank 6"),
        ("expert_shared_feed_forward_length", 2**31, "expert_shared_feed_forward_length|d_shared"),
    ],
)
def test_sizes_of_a_header_that_no_model_has(key, value, said, tmp_path):
    fields, tensors = fields_of("qwen3-5-moe"), tensors_of("qwen3-5-moe")
    with pytest.raises(ValueError, match=said):
        load(write_gguf(tmp_path / "a.gguf", "qwen35moe", fields, tensors, **{key: value}), jnp.float32)


@pytest.mark.parametrize(("rotated", "head_dim"), [(30, 44), (26, 46), (64, 256), (44, 44)])
def test_as_many_dimensions_are_rotated_as_a_header_says(rotated, head_dim, tmp_path):
    fields, tensors = fields_of("qwen3-5-moe"), tensors_of("qwen3-5-moe")
    sizes = {"rope.dimension_count": rotated, "attention.key_length": head_dim, "attention.value_length": head_dim}
    config = open_checkpoint(write_gguf(tmp_path / "a.gguf", "qwen35moe", fields, tensors, **sizes)).config
    assert {layer.rope.rotated(head_dim) for layer in config.layers} == {rotated}


def test_the_text_part_of_a_model_with_pictures(tmp_path, caplog):
    fields, tensors = fields_of("qwen3-5-moe"), tensors_of("qwen3-5-moe")
    plain = load(folder(tmp_path / "plain", tensors, fields), jnp.float32)
    nested = {"model_type": "qwen3_5_moe", "tie_word_embeddings": False, "vision_config": {"depth": 27}}
    nested["text_config"] = fields | {"rope_parameters": fields["rope_parameters"] | {"mrope_section": [11, 11, 10]}}
    names = {name: name.replace("model.", "model.language_model.", 1) for name in tensors}
    others = {"model.visual.patch_embed.weight": np.ones(3, np.float32), "mtp.fc.weight": np.ones(5, np.float32)}
    path = folder(tmp_path / "seeing", {names[name]: x for name, x in tensors.items()} | others, nested)
    with caplog.at_level(logging.WARNING, "refmodel"):
        model = refmodel.load(str(path))
    assert "left out: 1 tensors of what sees pictures" in caplog.text
    assert "left out: 1 tensors of layers that predict tokens beyond the next" in caplog.text
    assert model.config.layers == plain[0].layers
    chex.assert_trees_all_equal(model.params, plain[1])


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        ("qwen3-next", {"attn_output_gate": False}, "attn_output_gate is False; accepted: True"),
        ("qwen3-next", {"linear_num_key_heads": 5}, "value_heads 6 is not a multiple of key_heads 5"),
        ("qwen3-next", {"layer_types": ["linear_attention"] * 3}, "layer_types holds 3 entries for 4 layers"),
        ("qwen3-next", {"layer_types": ["mamba"] * 4}, "layer_types holds 'mamba'; accepted: full_attention, linear"),
        ("qwen3-5-moe", {"norm_topk_prob": False}, "norm_topk_prob is False; accepted: True"),
        ("qwen3-5-moe", {"rope_parameters": {"partial_rotary_factor": 0.01}}, "0.01 of head_dim 24 rotates no pairs"),
    ],
)
def test_what_is_not_computed_is_refused_by_its_field(case, change, message, tmp_path):
    path = folder(tmp_path / "a", {}, fields_of(case) | change)
    with pytest.raises(ValueError, match=message):
        open_checkpoint(path).config  # noqa: B018
