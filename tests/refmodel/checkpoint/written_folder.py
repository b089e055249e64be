"""Random trees written as folders, under the names of Hugging Face."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from refmodel.read_hf_config import from_hf
from refmodel.tree import abstract_params

MOE = {
    "model_type": "qwen3_moe", "num_hidden_layers": 3, "hidden_size": 11, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 17, "intermediate_size": 13, "num_experts": 5,
    "num_experts_per_tok": 2, "moe_intermediate_size": 7, "mlp_only_layers": [1], "rms_norm_eps": 1e-6,
    "max_position_embeddings": 31,
}  # fmt: skip
LLAMA = {key: value for key, value in MOE.items() if "expert" not in key} | {
    "model_type": "llama", "tie_word_embeddings": True,
}  # fmt: skip


def out_in(part, n_inputs=1):
    """The stored [out, in] matrix of a part [in..., out...]."""
    return np.asarray(part).reshape(int(np.prod(part.shape[:n_inputs])), -1).T


def hub_tensors(config, params, fused=False):
    stored = {"model.embed_tokens.weight": params["embed"]["embedding"]}
    stored["model.norm.weight"] = params["final_norm"]["scale"]
    if not config.tied_head:
        stored["lm_head.weight"] = out_in(params["head"]["kernel"])
    seen = {"dense": 0, "moe": 0}
    for layer, kind in enumerate(config.stacks):
        block = jax.tree.map(lambda leaf, slot=seen[kind]: np.asarray(leaf[slot]), params["blocks"][kind])
        seen[kind] += 1
        attn, ffn = block["attn"], block["ffn"]
        own = {f"self_attn.{name}_proj.weight": out_in(attn[name]) for name in "qkv"}
        own |= {"self_attn.o_proj.weight": out_in(attn["o"], 2)}
        own |= {f"self_attn.{name}.weight": attn[name]["scale"] for name in ("q_norm", "k_norm") if name in attn}
        own |= {"input_layernorm.weight": block["attn_norm"]["scale"]}
        own |= {"post_attention_layernorm.weight": block["ffn_norm"]["scale"]}
        own |= dense_tensors(ffn) if kind == "dense" else (fused_tensors if fused else expert_tensors)(ffn)
        stored |= {f"model.layers.{layer}.{name}": tensor for name, tensor in own.items()}
    return {name: np.ascontiguousarray(tensor) for name, tensor in stored.items()}


def dense_tensors(ffn):
    return {f"mlp.{name}_proj.weight": out_in(ffn[name]) for name in ("gate", "up", "down")}


def expert_tensors(ffn):
    experts = {
        f"mlp.experts.{e}.{name}_proj.weight": out_in(ffn[name][e]) for e in range(5) for name in ("gate", "up", "down")
    }
    return experts | {"mlp.gate.weight": out_in(ffn["router"])}


def fused_tensors(ffn):
    return {
        "mlp.experts.gate_up_proj": np.stack(
            [np.concatenate([out_in(gate), out_in(up)]) for gate, up in zip(ffn["gate"], ffn["up"], strict=True)]
        ),
        "mlp.experts.down_proj": np.stack([out_in(down) for down in ffn["down"]]),
        "mlp.gate.weight": out_in(ffn["router"]),
    }


def write_folder(folder, fields, dtype=jnp.float32, fused=False, n_shards=1):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    config = from_hf(folder / "config.json")
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(dtype), abstract_params(config, dtype))
    tensors = hub_tensors(config, params, fused)
    if n_shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return config, params
    shard_of = {name: f"model-{place % n_shards}.safetensors" for place, name in enumerate(tensors)}
    for shard in set(shard_of.values()):
        save_file({name: tensor for name, tensor in tensors.items() if shard_of[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shard_of}))
    return config, params


def rewrite(folder, change):
    """The folder's tensors, changed in place by `change`."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def assert_same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for leaf, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert leaf.dtype == want.dtype
        np.testing.assert_array_equal(leaf, want)
