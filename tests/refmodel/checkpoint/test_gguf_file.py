"""GGUF files: a random tree written under llama.cpp's names comes back, to the quantiser's own precision."""

from __future__ import annotations

import dataclasses
import tracemalloc
from functools import partial
from mmap import ALLOCATIONGRANULARITY

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from refmodel.checkpoint import open_checkpoint
from refmodel.checkpoint.gguf_header import read_header
from refmodel.decoder import decoder
from refmodel.default_model import default_gguf
from refmodel.presets import preset
from refmodel.rope_scaling import Divided
from refmodel.tree import abstract_params
from tests.checkpoints import load

small = partial(
    decoder, "small", n_layers=3, d_model=32, n_heads=6, n_kv_heads=2, head_dim=16, norm_eps=1e-5, max_positions=31
)
LLAMA = small(vocab_size=37, d_ff=64, qk_norm=False)
QWEN3 = small(vocab_size=37, d_ff=64, tied_head=True)
QWEN3_MOE = small(vocab_size=37, n_experts=5, experts_per_token=2, d_expert=96, tied_head=True)
QWEN2 = small(vocab_size=37, d_ff=64, qk_norm=False, attention_bias="qkv")
BIASED = small(vocab_size=37, d_ff=64, qk_norm=False, attention_bias="qkvo", mlp_bias=True)
SMOLLM3 = small(n_layers=5, vocab_size=37, d_ff=64, qk_norm=False, rotates=(True,) * 3 + (False, True))
MODELS = {
    "llama": LLAMA, "qwen3": QWEN3, "qwen3moe": QWEN3_MOE, "qwen2": QWEN2, "biased llama": BIASED, "smollm3": SMOLLM3,
}  # fmt: skip
# How llama and smollm3 store a head's rows: 0, 8, 1, 9, ...
HEAD_ORDER = [half * 8 + pair for pair in range(8) for half in range(2)]


def stored_tensors(config, params, arch):
    """{GGUF name: [out, in] matrix}, with llama's and smollm3's row order for q and k."""
    yield "token_embd.weight", params["embed"]["embedding"]
    yield "output_norm.weight", params["final_norm"]["scale"]
    if not config.tied_head:
        yield "output.weight", params["head"]["kernel"].T
    (block,) = params["blocks"].values()
    for layer in range(config.n_layers):
        own = jax.tree.map(lambda leaf, layer=layer: leaf[layer], block)
        attn, ffn = own["attn"], own["ffn"]
        for name in "qkv":
            order = HEAD_ORDER if arch.endswith(("llama", "smollm3")) and name in "qk" else slice(None)
            yield f"blk.{layer}.attn_{name}.weight", attn[name][..., order].reshape(config.d_model, -1).T
            if name in config.layers[0].attention_bias:
                yield f"blk.{layer}.attn_{name}.bias", attn[f"{name}_bias"][..., order].reshape(-1)
        yield f"blk.{layer}.attn_output.weight", attn["o"].reshape(-1, config.d_model).T
        if "o" in config.layers[0].attention_bias:
            yield f"blk.{layer}.attn_output.bias", attn["o_bias"]
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", own[name]["scale"]
        for name in ("q_norm", "k_norm") if config.layers[0].qk_norm else ():
            yield f"blk.{layer}.attn_{name}.weight", attn[name]["scale"]
        suffix = "_exps" if config.has_experts else ""
        for name in ("gate", "up", "down"):
            yield f"blk.{layer}.ffn_{name}{suffix}.weight", ffn[name].swapaxes(-1, -2)
            if f"{name}_bias" in ffn:
                yield f"blk.{layer}.ffn_{name}.bias", ffn[f"{name}_bias"]
        if config.has_experts:
            yield f"blk.{layer}.ffn_gate_inp.weight", ffn["router"].T


def write_file(path, arch, tensors, quantised=Type.F32, also=lambda writer: None, config=None, **settings):
    """A file of `MODELS[arch]`, or of another `config` of that architecture; `quantised` is a type, or one by name."""
    config = config or MODELS[arch]
    writer = gguf.GGUFWriter(path, arch.split()[-1])
    writer.add_name(config.name)
    for key, value in ({f"{arch.split()[-1]}.block_count": config.n_layers} | settings).items():
        writer.add_uint32(key, value)
    writer.add_embedding_length(config.d_model)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_key_length(config.head_dim)
    feed_forward = config.layers[0].feed_forward
    writer.add_feed_forward_length(getattr(feed_forward, "d_ff", 0))
    writer.add_context_length(config.max_positions)
    writer.add_layer_norm_rms_eps(config.final_norm.eps)
    if config.has_experts:
        writer.add_expert_count(feed_forward.n_experts)
        writer.add_expert_used_count(feed_forward.experts_per_token)
        writer.add_expert_feed_forward_length(feed_forward.d_expert)
    also(writer)
    for name, tensor in tensors.items():
        packed = tensor.ndim > 1 and "gate_inp" not in name
        kind = (quantised(name) if callable(quantised) else quantised) if packed else Type.F32
        if tensor.dtype == np.float64:
            writer.add_tensor(name, tensor)
        else:
            writer.add_tensor(name, gguf.quantize(np.ascontiguousarray(tensor), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_model(arch):
    """Parameters, norm scales random too, and the tensors that hold them."""
    rng = np.random.default_rng(0)
    tree = abstract_params(MODELS[arch], jnp.float32)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), tree)
    return params, dict(stored_tensors(MODELS[arch], params, arch))


@pytest.mark.parametrize("arch", MODELS)
def test_float32_round_trip_is_exact(tmp_path, arch):
    params, tensors = random_model(arch)
    config, found = load(write_file(tmp_path / "m.gguf", arch, tensors), jnp.float32)
    assert config == MODELS[arch]
    assert jax.tree.structure(found) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, found, params)


@pytest.mark.parametrize("quantised", [Type.Q8_0, Type.Q4_0, Type.BF16, Type.F16])
@pytest.mark.parametrize("arch", MODELS)
def test_quantised_round_trip_is_the_quantiser_s_own(tmp_path, arch, quantised):
    """Rows are what is quantised, so a moved row or a swapped leaf shows; the values must equal the quantiser's."""
    params, tensors = random_model(arch)
    _, found = load(write_file(tmp_path / "m.gguf", arch, tensors, quantised), jnp.float32)
    own = {
        name: tensor if tensor.ndim == 1 or "gate_inp" in name
        else gguf.dequantize(gguf.quantize(np.ascontiguousarray(tensor), quantised), quantised)
        for name, tensor in tensors.items()
    }  # fmt: skip
    assert any((own[name] != tensors[name]).any() for name in own)
    for name, tensor in stored_tensors(MODELS[arch], jax.tree.map(np.asarray, found), arch):
        np.testing.assert_array_equal(tensor, own[name], err_msg=name)
    worst = max(np.abs(own[name] - tensors[name]).max() for name in own)
    jax.tree.map(lambda leaf, want: np.testing.assert_allclose(leaf, want, atol=worst), found, params)


@pytest.mark.parametrize("arch", ["llama", "qwen3"])
def test_rope_factors_are_of_the_description_and_no_parameters(tmp_path, arch):
    params, tensors = random_model(arch)
    for factor, scaling in ((1.0, None), (2.0, Divided((2.0,) * 8))):
        factors = {"rope_freqs.weight": np.full(8, factor, np.float32)}
        config, found = load(write_file(tmp_path / f"{factor}.gguf", arch, tensors | factors), jnp.float32)
        jax.tree.map(np.testing.assert_array_equal, found, params)
        assert config.layers[0].rope.scaling == scaling


def test_wrong_tensor_is_named(tmp_path):
    _, tensors = random_model("qwen3")
    down = "blk.2.ffn_down.weight"
    for changed, message in (
        ({name: tensor for name, tensor in tensors.items() if name != down}, f"m.gguf lacks tensor {down}"),
        (tensors | {"blk.0.attn_q.biases": np.zeros(96, np.float32)}, "m.gguf has surplus tensor blk.0.attn_q.biases"),
        (tensors | {down: tensors[down].T}, rf"{down} has shape \(64, 32\); .* needs \(32, 64\)"),
    ):
        with pytest.raises(ValueError, match=message):
            load(write_file(tmp_path / "m.gguf", "qwen3", changed), jnp.float32)


def test_tensor_type_that_cannot_be_dequantised_is_named(tmp_path):
    _, tensors = random_model("qwen3")
    path = write_file(tmp_path / "m.gguf", "qwen3", tensors | {"output_norm.weight": np.zeros(32, np.float64)})
    with pytest.raises(ValueError, match=r"m.gguf: output_norm.weight is stored as F64"):
        load(path, jnp.float32)


def test_peak_memory_is_the_tree_and_one_tensor(tmp_path, monkeypatch):
    """Measured: what Python and numpy allocate (tracemalloc), which the leaves are; JAX uses them in place."""
    wide = small(vocab_size=6007, d_model=128, d_ff=64, tied_head=True)
    monkeypatch.setitem(MODELS, "qwen3", wide)
    _, tensors = random_model("qwen3")
    opened = open_checkpoint(write_file(tmp_path / "m.gguf", "qwen3", tensors, Type.Q8_0))
    opened.params(jnp.bfloat16)  # imports and caches are not the subject
    tracemalloc.start()
    found = opened.params(jnp.bfloat16)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tree_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(found))
    one_tensor_bytes = tensors["token_embd.weight"].nbytes
    assert tree_bytes <= peak_bytes <= tree_bytes + one_tensor_bytes + 1_500_000


def test_no_more_of_a_file_is_mapped_than_the_tensor_that_is_read(tmp_path):
    """As of safetensors: what was read of a mapping stays resident as long as that."""
    _, tensors = random_model("qwen3")
    for one in read_header(write_file(tmp_path / "m.gguf", "qwen3", tensors, Type.Q8_0)).tensors.values():
        rows = one.rows()
        assert rows.nbytes <= len(rows._mmap) < rows.nbytes + ALLOCATIONGRANULARITY


def test_smollm2():
    try:
        path = default_gguf()
    except ValueError as error:
        pytest.skip(str(error))
    config, params = load(path, jnp.float32)
    assert dataclasses.replace(config, name="smollm2-135m") == preset("smollm2-135m")
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    assert sum(leaf.size for leaf in leaves) == 134_515_008
    assert all(np.isfinite(leaf).all() and leaf.std() > 0 for leaf in leaves)
