"""Weights that stay packed, or are packed while they are loaded: the model is that of the expanded ones."""

from __future__ import annotations

import dataclasses
import re
from functools import partial

import chex
import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

import refmodel
from refmodel import room
from refmodel.checkpoint import open_checkpoint, packed_leaf
from refmodel.checkpoint.packing import weights_named
from refmodel.decoder import decoder
from refmodel.digest import params_digest
from refmodel.model import prefill, step
from refmodel.packed.by_layer import PackedByLayer
from refmodel.packed.held import held_weights
from refmodel.packed.packed import Packed
from refmodel.packed.scaled import Scaled
from refmodel.tree import abstract_params, leaves_by_path
from tests.refmodel.checkpoint.test_gguf_file import stored_tensors, write_file

pytestmark = pytest.mark.usefixtures("fast_compile")

wide = partial(
    decoder, "wide", n_layers=5, d_model=64, n_heads=8, n_kv_heads=2, head_dim=16, vocab_size=37, max_positions=31
)
MODELS = {
    "llama": wide(d_ff=192, qk_norm=False, norm_eps=1e-5),
    "qwen3moe": wide(n_experts=5, experts_per_token=2, d_expert=128, norm_eps=1e-5, tied_head=True),
}  # fmt: skip


def mixed(name: str) -> Type:
    """As Q4_K_M files have it: more bits for the values and the last product of some layers."""
    finer = any(name.startswith(f"blk.{layer}.") for layer in (0, 3)) and ("ffn_down" in name or "attn_v" in name)
    return Type.Q8_0 if finer or name == "token_embd.weight" else Type.Q4_0


@pytest.fixture(params=MODELS)
def file(request, tmp_path):
    arch, config = request.param, MODELS[request.param]
    rng = np.random.default_rng(0)
    tree = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), abstract_params(config))
    for leaf in leaves_by_path(tree).values():
        leaf *= 0.2  # so that the softmax is not saturated
    return write_file(tmp_path / "m.gguf", arch, dict(stored_tensors(config, tree, arch)), mixed, config=config)


@partial(jax.jit, static_argnums=0)
def logits_of(config, params):
    """Of a prompt in one step, and of a token after it."""
    tokens_bt = jnp.asarray([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]])
    first, cache = prefill(config, params, tokens_bt, capacity_tokens=12, logits="all")
    then, _ = step(config, params, cache, tokens_bt[:, :1])
    return first, then


def test_kept_weights_are_the_expanded_ones(file):
    opened = open_checkpoint(file)
    expanded, kept = opened.params(jnp.float32), opened.params(jnp.float32, "kept")
    chex.assert_trees_all_close(
        logits_of(opened.config, kept), logits_of(opened.config, expanded), rtol=1e-5, atol=1e-5
    )
    leaves = leaves_by_path(kept)
    (down,) = (path for path in leaves if path.endswith("ffn.down.stacks.0"))
    assert leaves[down].coding.name == "q8_0" and leaves[down.replace("stacks.0", "stacks.1")].coding.name == "q4_0"
    assert held_weights(kept).format == "q4_0+q8_0"
    stored = sum(tensor.n_bytes for tensor in gguf.GGUFReader(file).tensors)
    assert held_weights(kept).n_bytes == stored


def test_a_layer_reads_its_own_coding(file):
    """Every layer's matrix, in whichever stack it is, equals the expanded one."""
    opened = open_checkpoint(file)
    (block,) = opened.params(jnp.float32, "kept")["blocks"].values()
    (plain,) = opened.params(jnp.float32)["blocks"].values()
    kept, expanded = block["attn"]["v"], plain["attn"]["v"]
    assert isinstance(kept, PackedByLayer) and kept.which == (0, 1, 1, 0, 1)
    for layer, which in enumerate(kept.which):
        matrix = kept.stacks[which].at(jnp.int32(layer)).expand()
        np.testing.assert_array_equal(matrix.reshape(2, 16, 64), expanded[layer].transpose(1, 2, 0))


@pytest.mark.parametrize("name", ["int4", "int8(32)", "fp8"])
def test_packed_while_loaded(file, name):
    opened, coding = open_checkpoint(file), weights_named(name)
    expanded, packed = opened.params(jnp.float32), opened.params(jnp.float32, coding)
    assert jax.tree.structure(packed) == jax.tree.structure(abstract_params(opened.config, jnp.float32, coding))
    (block,) = packed["blocks"].values()
    (plain,) = expanded["blocks"].values()
    stored_lod = plain["attn"]["q"].reshape(5, 64, 128).swapaxes(1, 2)
    chex.assert_trees_all_equal(block["attn"]["q"].parts, coding.encode(np.asarray(stored_lod)))
    assert isinstance(packed["embed"]["embedding"], Packed) and not isinstance(block["attn_norm"]["scale"], Packed)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("int5", "no format of weights 'int5' (did you mean 'int8'?); accepted: kept, int4, int8"),
        ("q4_k", "packed here in int4, int8, fp8; q4_k is kept where files have it"),
        ("int8(24)", "int8 takes groups of a multiple of 16, got 24"),
        ("fp8(48)", "fp8(48) packs rows of a multiple of 48 numbers, those of"),
    ],
)
def test_words_that_are_no_format(file, name, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        refmodel.load(str(file), weights=name)


def test_a_preset_has_no_files():
    with pytest.raises(ValueError, match="has no files whose weights could be kept"):
        refmodel.load("tiny-dense", weights="kept")


@pytest.mark.parametrize("weights", ["kept", "int4", None])
def test_what_is_held_is_known_before_it_is_read(file, weights):
    opened, named = open_checkpoint(file), weights_named(weights)
    known = opened.held_bytes(jnp.float32, named)
    params = opened.params(jnp.float32, named)
    assert known == held_weights(params).n_bytes


def test_kept_weights_are_refused_where_they_do_not_fit(file, monkeypatch):
    known = open_checkpoint(file).held_bytes(jnp.float32, "kept")
    monkeypatch.setattr(room, "free_device_bytes", lambda: known)
    assert refmodel.load(str(file), weights="kept").held.n_bytes >= known
    monkeypatch.setattr(room, "free_device_bytes", lambda: known - 1)
    with pytest.raises(ValueError, match=r"needs 0\.0 GB of weights in the formats of its files, the device has"):
        refmodel.load(str(file), weights="kept")


def test_what_cannot_stay_packed_is_said(tmp_path, caplog):
    """Rows of 96 numbers are no whole pairs of 32: Q4_0 of them is expanded, and said."""
    config = dataclasses.replace(MODELS["llama"], name="odd")
    narrow = config.with_each_layer(feed_forward=dataclasses.replace(config.layers[0].feed_forward, d_ff=96))
    tree = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), abstract_params(narrow))
    tensors = dict(stored_tensors(narrow, tree, "llama"))
    path = write_file(tmp_path / "odd.gguf", "llama", tensors, lambda name: Type.Q4_0, config=narrow)
    refmodel.load(str(path), weights="kept")
    assert [record.getMessage() for record in caplog.records] == [
        "not kept packed, for in some layer at least their format or order in the files has no coding: "
        "blocks.dense.ffn.down"
    ]


@pytest.mark.parametrize("weights", ["kept", "int4", None])
def test_a_file_that_lacks_a_tensor_is_refused_alike(tmp_path, weights):
    config = MODELS["llama"]
    tree = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), abstract_params(config))
    tensors = dict(stored_tensors(config, tree, "llama"))
    del tensors["blk.2.ffn_up.weight"]
    path = write_file(tmp_path / "m.gguf", "llama", tensors, mixed, config=config)
    with pytest.raises(ValueError, match=r"lacks tensor blk\.2\.ffn_up\.weight"):
        refmodel.load(str(path), weights=weights)


def test_a_digest_tells_which_layer_has_which_matrix(file):
    params = open_checkpoint(file).params(jnp.float32, "kept")
    (block,) = params["blocks"].values()
    kept, before = block["attn"]["v"], params_digest(params)
    first, second = kept.stacks
    swapped = dataclasses.replace(second, slots=second.slots[jnp.asarray([0, 2, 1, 3, 4])])
    block["attn"]["v"] = dataclasses.replace(kept, stacks=(first, swapped))
    assert params_digest(params) != before


def test_one_large_tensor_is_expanded_at_a_time(file, monkeypatch):
    """Small ones side by side, large ones one after the other; what is kept is expanded never."""
    opened, together, most = open_checkpoint(file), set(), []
    encode = Scaled.encode

    def counted(self, weight):
        together.add(id(weight))
        most.append(len(together))
        found = encode(self, weight)
        together.discard(id(weight))
        return found

    monkeypatch.setattr(Scaled, "encode", counted)
    monkeypatch.setattr(packed_leaf, "_SMALL_BYTES", 0)
    opened.params(jnp.float32, weights_named("int4"))
    assert set(most) == {1}
