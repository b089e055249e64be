"""gpt-oss in all its stored forms: transformers' folder, the MXFP4 folder, and GGUF under llama.cpp's names."""

from __future__ import annotations

import json

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gguf import MODEL_TENSOR, TENSOR_NAMES, GGMLQuantizationType
from safetensors.numpy import save_file

from refmodel.checkpoint import open_checkpoint
from tests.checkpoints import load
from tests.refmodel.checkpoint.written_folder import assert_same, rewrite

D, F, N, K, H, E, L, V = 64, 32, 6, 2, 10, 3, 2, 17
"""Widths of whole blocks of MXFP4, and E, F and 2F such that no wrong order of axes has the right shape."""
FIELDS = {
    "model_type": "gpt_oss", "num_hidden_layers": L, "hidden_size": D, "num_attention_heads": N,
    "num_key_value_heads": K, "head_dim": H, "vocab_size": V, "intermediate_size": F, "num_local_experts": E,
    "num_experts_per_tok": 2, "max_position_embeddings": 31, "sliding_window": 5,
    "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 11, "truncate": False},
}  # fmt: skip
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def layer_tensors():
    """Under transformers' names, experts aside."""
    made = {f"self_attn.{one}_proj.weight": normal(n * H, D) for one, n in (("q", N), ("k", K), ("v", K))}
    made |= {f"self_attn.{one}_proj.bias": normal(n * H) for one, n in (("q", N), ("k", K), ("v", K))}
    made |= {"self_attn.o_proj.weight": normal(D, N * H), "self_attn.o_proj.bias": normal(D)}
    made |= {"self_attn.sinks": normal(N), "mlp.router.weight": normal(E, D), "mlp.router.bias": normal(E)}
    made |= {"input_layernorm.weight": normal(D), "post_attention_layernorm.weight": normal(D)}
    return made | {"mlp.experts.gate_up_proj_bias": normal(E, 2 * F), "mlp.experts.down_proj_bias": normal(E, D)}


def packed():
    """Random nibbles [.., 32] a block, and scales: of gate and up, of down."""
    sides = {"gate_up_proj": (E, 2 * F, D // 32), "down_proj": (E, D, F // 32)}
    return {
        name: (RNG.integers(0, 16, (*side, 32), np.uint8), RNG.integers(115, 135, side, np.uint8))
        for name, side in sides.items()
    }


def numbers(nibbles, scales):
    """[E, out, in]: each nibble by the table of E2M1, times 2^(scale - 127)."""
    value = E2M1[nibbles] * 2.0 ** (scales.astype(int) - 127)[..., None]
    return value.reshape(*scales.shape[:-1], -1).astype(np.float32)


OUTSIDE = {
    "model.embed_tokens.weight": normal(V, D), "model.norm.weight": normal(D), "lm_head.weight": normal(V, D),
}  # fmt: skip
LAYERS = [layer_tensors() for _ in range(L)]
PACKED = [packed() for _ in range(L)]


def plain_folder(folder):
    """Experts as [E, in, out] in float32."""
    tensors = dict(OUTSIDE)
    for i, (own, blocks) in enumerate(zip(LAYERS, PACKED, strict=True)):
        own = own | {f"mlp.experts.{name}": numbers(*one).swapaxes(1, 2) for name, one in blocks.items()}
        tensors |= {f"model.layers.{i}.{name}": np.ascontiguousarray(tensor) for name, tensor in own.items()}
    return written(folder, tensors, {})


def packed_folder(folder):
    """As on the Hub: the first number of a byte in its low half."""
    tensors = dict(OUTSIDE)
    for i, (own, blocks) in enumerate(zip(LAYERS, PACKED, strict=True)):
        for name, (nibbles, scales) in blocks.items():
            own = own | {
                f"mlp.experts.{name}_blocks": nibbles[..., 0::2] | nibbles[..., 1::2] << 4,
                f"mlp.experts.{name}_scales": scales,
            }
        tensors |= {f"model.layers.{i}.{name}": tensor for name, tensor in own.items()}
    quantised = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
    return written(folder, tensors, {"quantization_config": quantised})


def written(folder, tensors, fields):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(FIELDS | fields))
    save_file(tensors, folder / "model.safetensors")
    return folder


def gguf_name(tensor, layer=0, ending="weight"):
    return f"{TENSOR_NAMES[tensor].format(bid=layer)}.{ending}"


STORED = {
    "self_attn.q_proj": MODEL_TENSOR.ATTN_Q, "self_attn.k_proj": MODEL_TENSOR.ATTN_K,
    "self_attn.v_proj": MODEL_TENSOR.ATTN_V, "self_attn.o_proj": MODEL_TENSOR.ATTN_OUT,
    "mlp.router": MODEL_TENSOR.FFN_GATE_INP, "input_layernorm": MODEL_TENSOR.ATTN_NORM,
    "post_attention_layernorm": MODEL_TENSOR.ATTN_POST_NORM,
}  # fmt: skip
EXPERTS = {
    ("gate_up_proj", 0): MODEL_TENSOR.FFN_GATE_EXP, ("gate_up_proj", 1): MODEL_TENSOR.FFN_UP_EXP,
    ("down_proj", None): MODEL_TENSOR.FFN_DOWN_EXP,
}  # fmt: skip


def gguf_file(path, kind):
    """As llama.cpp's converter writes it: gate and up apart, [E, out, in], sinks as a weight."""
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.GPT_OSS])
    writer.add_block_count(L)
    writer.add_embedding_length(D)
    writer.add_head_count(N)
    writer.add_head_count_kv(K)
    writer.add_key_length(H)
    writer.add_value_length(H)
    writer.add_feed_forward_length(F)
    writer.add_expert_feed_forward_length(F)
    writer.add_expert_count(E)
    writer.add_expert_used_count(2)
    writer.add_context_length(31)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_sliding_window(5)
    writer.add_rope_freq_base(150_000.0)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(11)
    for name, tensor in zip((MODEL_TENSOR.TOKEN_EMBD, MODEL_TENSOR.OUTPUT_NORM, MODEL_TENSOR.OUTPUT), OUTSIDE.values(),
                            strict=True):  # fmt: skip
        writer.add_tensor(gguf_name(name), tensor)
    for i, (own, blocks) in enumerate(zip(LAYERS, PACKED, strict=True)):
        writer.add_tensor(gguf_name(MODEL_TENSOR.ATTN_SINKS, i), own["self_attn.sinks"])
        for name, tensor in own.items():
            if (stored := STORED.get(name.rpartition(".")[0])) is not None:
                writer.add_tensor(gguf_name(stored, i, name.rpartition(".")[2]), tensor)
        for (name, turn), stored in EXPERTS.items():
            rows = slice(turn, None, 2 if turn is not None else None)
            bias = np.ascontiguousarray(own[f"mlp.experts.{name}_bias"][:, rows])
            writer.add_tensor(gguf_name(stored, i, "bias"), bias)
            add_experts(writer, gguf_name(stored, i), kind, *(part[:, rows] for part in blocks[name]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_experts(writer, name, kind, nibbles, scales):
    """llama.cpp's MXFP4 has the scale before its block, whose byte i holds numbers i and i + 16."""
    if kind == GGMLQuantizationType.F32:
        writer.add_tensor(name, np.ascontiguousarray(numbers(nibbles, scales)))
        return
    stored = np.concatenate([scales[..., None], nibbles[..., :16] | nibbles[..., 16:] << 4], axis=-1)
    writer.add_tensor(name, stored.reshape(*scales.shape[:-1], -1), raw_dtype=kind)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_folder_of_4_bit_floats_is_the_plain_one(tmp_path, dtype):
    """E2M1 times a power of two is exact in either type."""
    config, plain = load(plain_folder(tmp_path / "plain"), dtype)
    packed_config, found = load(packed_folder(tmp_path / "packed"), dtype)
    assert config.layers == packed_config.layers and not config.cannot_run
    assert_same(found, plain)
    gate = np.asarray(plain["blocks"]["moe"]["ffn"]["gate"], np.float32)
    nibbles, scales = PACKED[1]["gate_up_proj"]
    np.testing.assert_array_equal(gate[1], numbers(nibbles, scales)[:, 0::2].swapaxes(1, 2))


@pytest.mark.parametrize("kind", [GGMLQuantizationType.F32, GGMLQuantizationType.MXFP4])
def test_a_gguf_file_is_the_folder_bit_for_bit(tmp_path, kind):
    config, wanted = load(plain_folder(tmp_path / "plain"), jnp.float32)
    found_config, found = load(gguf_file(tmp_path / "plain.gguf", kind), jnp.float32)
    assert found_config == config
    assert_same(found, wanted)


def test_every_leaf_is_random(tmp_path):
    """What the other tests compare."""
    _, params = load(plain_folder(tmp_path / "plain"), jnp.float32)
    assert all(np.unique(leaf).size > 1 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, name: t.pop(f"{name}_scales"), r"down_proj_scales is missing, which .*_blocks is read with"),
        (lambda t, name: t.update({f"{name}_scales": np.ones((E, D, 2), np.uint8)}),
         r"down_proj_blocks of U8\[3, 64, 1, 16\] its _scales may not be \[3, 64, 2\]"),
        (lambda t, name: t.update({f"{name}_scales": np.ones((E, D, 1), jnp.float8_e5m2)}),
         "down_proj_scales is stored as F8_E5M2; accepted: U8"),
        (lambda t, name: t.update({f"{name}_blocks": np.ones((E, D, 1, 15), np.uint8)}), r"of U8\[3, 64, 1, 15\]"),
        (lambda t, name: t.update({f"{name}_blocks": np.ones((E, D, 2, 16), np.uint8),
                                   f"{name}_scales": np.ones((E, D, 2), np.uint8)}),
         r"down_proj_blocks has shape \(3, 64, 64\); the model's blocks.moe.ffn.down needs \(3, 64, 32\)"),
        (lambda t, name: t.update({f"{name}_blocks": np.ones(16, np.uint8)}), r"of U8\[16\]"),
        (lambda t, name: t.update({f"{name}_odd": np.ones(1, np.uint8)}), "_odd is stored as U8; accepted: F32"),
        (lambda t, name: t.pop(f"{name}_bias"), "lacks tensor model.layers.1.mlp.experts.down_proj_bias"),
        (lambda t, name: t.pop("model.layers.0.self_attn.sinks"), "lacks tensor model.layers.0.self_attn.sinks"),
    ],
)  # fmt: skip
def test_what_is_missing_or_misshapen_is_named(tmp_path, change, message):
    folder = packed_folder(tmp_path / "packed")
    rewrite(folder, lambda tensors: change(tensors, "model.layers.1.mlp.experts.down_proj"))
    with pytest.raises(ValueError, match=message):
        open_checkpoint(folder).params(jnp.float32)
