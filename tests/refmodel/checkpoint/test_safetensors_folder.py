"""Hugging Face folders: a random tree written under the Hub's names comes back bit for bit."""

from __future__ import annotations

import mmap
import os
import shutil
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import refmodel
from eval.measure.peak_memory import PeakMemory
from refmodel.checkpoint import folder_files, open_checkpoint
from refmodel.checkpoint.find import open_config
from refmodel.checkpoint.folder_files import stored_tensors
from tests.checkpoints import load
from tests.refmodel.checkpoint.written_folder import LLAMA, MOE, assert_same, rewrite, write_folder


@pytest.mark.parametrize("n_shards", [1, 3])
@pytest.mark.parametrize(
    ("fields", "fused"), [(MOE, False), (MOE, True), (LLAMA, False)], ids=["per expert", "fused", "llama"]
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_round_trip(tmp_path, fields, fused, dtype, n_shards):
    config, params = write_folder(tmp_path, fields, dtype, fused, n_shards)
    found_config, found = load(tmp_path, dtype)
    assert found_config == config
    assert_same(found, params)


def test_stored_precision_and_loaded_precision_are_independent(tmp_path):
    _, params = write_folder(tmp_path, LLAMA, jnp.bfloat16)
    assert_same(load(tmp_path, jnp.float32)[1], jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))


def test_what_is_harmless_is_left_out_and_said(tmp_path):
    _, params = write_folder(tmp_path, LLAMA)
    further = {f"model.layers.3.{name}": np.ones(2, np.float32) for name in ("eh_proj.weight", "mlp.up_proj.weight")}
    further["model.layers.0.self_attn.rotary_emb.inv_freq"] = further["mtp.fc.weight"] = np.ones(3, np.float32)
    rewrite(tmp_path, lambda t: t.update(further | {"lm_head.weight": t["model.embed_tokens.weight"]}))
    opened = open_checkpoint(tmp_path)
    assert opened.config.tied_head
    assert_same(opened.params(jnp.float32), params)
    assert [said.removeprefix(f"{tmp_path}: ") for said in opened.remarks()] == [
        "left out: 1 rotary buffers, which the config gives",
        "left out: 3 tensors of layers that predict tokens beyond the next",
    ]


def test_a_layer_too_many_is_not_harmless(tmp_path):
    write_folder(tmp_path, LLAMA)
    rewrite(tmp_path, lambda tensors: tensors.update({"model.layers.3.mlp.up_proj.weight": np.ones((13, 11))}))
    with pytest.raises(ValueError, match=r"has surplus tensor model.layers.3.mlp.up_proj.weight"):
        load(tmp_path, jnp.float32)


def test_a_head_with_values_of_its_own_is_no_tied_one(tmp_path):
    """As in transformers 5, whatever the flag says, by which costs go: they look at no weight."""
    _, params = write_folder(tmp_path, LLAMA)
    head = np.random.default_rng(7).normal(size=(17, 11)).astype(np.float32)
    rewrite(tmp_path, lambda tensors: tensors.update({"lm_head.weight": head}))
    opened = open_checkpoint(tmp_path)
    found = opened.params(jnp.float32)
    np.testing.assert_array_equal(found.pop("head")["kernel"], head.T)
    assert_same(found, params)
    assert not opened.config.tied_head and opened.described.tied_head and open_config(str(tmp_path)).tied_head
    (said,) = opened.remarks()
    assert "lm_head.weight is stored with other values: it is the head" in said


def test_a_tied_head_that_is_stored_alone_is_the_embedding(tmp_path):
    _, params = write_folder(tmp_path, LLAMA)
    rewrite(tmp_path, lambda tensors: tensors.update({"lm_head.weight": tensors.pop("model.embed_tokens.weight")}))
    assert_same(load(tmp_path, jnp.float32)[1], params)


@pytest.mark.parametrize(
    "renamed",
    [
        lambda name: name.removeprefix("model."),
        lambda name: f"_orig_mod.{name}",
        lambda name: name.replace("model.", "model._orig_mod."),
        lambda name: f"module.{name}",
    ],
    ids=["no prefix", "compiled", "compiled inside", "distributed"],
)
def test_names_may_be_wrapped_or_without_their_prefix(tmp_path, renamed):
    _, params = write_folder(tmp_path, LLAMA)

    def rename(tensors):
        stored = {renamed(name): tensor for name, tensor in tensors.items()}
        tensors.clear()
        tensors.update(stored)

    rewrite(tmp_path, rename)
    assert_same(load(tmp_path, jnp.float32)[1], params)
    rewrite(tmp_path, lambda tensors: tensors.update({"model.norm.weight": np.ones(11, np.float32)}))
    with pytest.raises(ValueError, match=r"model.norm.weight are both model.norm.weight|both model.norm.weight"):
        load(tmp_path, jnp.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.layers.2.mlp.experts.4.up_proj.weight"), "lacks tensor .*layers.2.mlp.experts.4.up"),
        (lambda t: t.pop("lm_head.weight"), "lacks tensor lm_head.weight"),
        (
            lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": np.zeros(24, np.float32)}),
            "has surplus tensor model.layers.0.self_attn.q_proj.bias",
        ),
        (
            lambda t: t.update({"model.layers.1.mlp.down_proj.weight": np.zeros((13, 11), np.float32)}),
            r"model.layers.1.mlp.down_proj.weight has shape \(13, 11\).*needs \(11, 13\)",
        ),
        (
            lambda t: t.update({"model.norm.weight": np.zeros(11, np.int8)}),
            "model.norm.weight is stored as I8; accepted: F32, F16, BF16",
        ),
    ],
)
def test_wrong_tensor_is_named(tmp_path, change, message):
    write_folder(tmp_path, MOE)
    rewrite(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, jnp.float32)


def test_token_ids_need_no_tokenizer(tmp_path):
    write_folder(tmp_path, LLAMA)
    model = refmodel.load(str(tmp_path))
    logits_bv, _ = model.prefill([3, 1, 4, 1, 5])
    assert logits_bv.shape == (1, 17) and bool(jnp.isfinite(logits_bv).all())
    with pytest.raises(ValueError, match=r"has no tokenizer.json, .* takes token ids"):
        model.encode("a")


def test_unreadable_file_is_named(tmp_path):
    write_folder(tmp_path, MOE)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for content in (whole[:-1], b"", b"something else entirely"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"model.safetensors: not a readable safetensors file"):
            load(tmp_path, jnp.float32)


def test_broken_shards_are_named(tmp_path):
    write_folder(tmp_path, MOE, n_shards=3)
    shutil.copy(tmp_path / "model-0.safetensors", tmp_path / "model-1.safetensors")
    with pytest.raises(ValueError, match=r"model-1.safetensors: .* is stored in an earlier shard too"):
        load(tmp_path, jnp.float32)
    for content in ("{", "{}", '{"weight_map": ["a"]}', '{"weight_map": {"a": 1}}'):
        (tmp_path / "model.safetensors.index.json").write_text(content)
        with pytest.raises(ValueError, match=r"index.json: not (a readable index of shards|readable as JSON)"):
            load(tmp_path, jnp.float32)


def test_peak_memory_is_the_tree_and_one_tensor(tmp_path):
    """Measured: what Python and numpy allocate (tracemalloc), which the leaves are; JAX uses them in place."""
    fields = LLAMA | {"vocab_size": 997, "hidden_size": 240, "intermediate_size": 701}
    _, params = write_folder(tmp_path, fields | {"head_dim": 40})
    load(tmp_path, jnp.float32)  # imports and caches are not the subject
    tracemalloc.start()
    _, found = load(tmp_path, jnp.float32)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tree_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(found))
    assert tree_bytes <= peak_bytes <= tree_bytes + params["embed"]["embedding"].nbytes + 300_000


@pytest.mark.parametrize(
    ("file_bytes", "most", "length"),
    [(17, 2**18, 2**18 + 1), (17, 2**18, 2**64 - 1), (2**25, 2**21, 2**21 + 1), (2**30, 2**23, 10**8)],
)
def test_a_header_is_bounded_before_it_is_read(tmp_path, monkeypatch, file_bytes, most, length):
    write_folder(tmp_path, LLAMA)
    monkeypatch.setattr(folder_files, "safe_open", lambda *_, **__: pytest.fail("the header is read"))
    (tmp_path / "model.safetensors").write_bytes(length.to_bytes(8, "little"))
    os.truncate(tmp_path / "model.safetensors", file_bytes)  # nothing on disk
    said = rf"model.safetensors: not a readable .* at most {most:,} bytes in a file of this size, got {length:,}"
    with pytest.raises(ValueError, match=said):
        load(tmp_path, jnp.float32)


@pytest.mark.parametrize(
    ("whole", "entry"),
    [('{"__metadata__":{%s}}', '"%x":""'), ("{%s}", '"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}')],
)
def test_a_header_becomes_at_most_as_much_as_its_bound_counts_on(tmp_path, monkeypatch, whole, entry):
    """Of as many entries as there can be; resident memory, since the library underneath allocates beside Python."""
    length = 2**20
    monkeypatch.setattr(folder_files, "_ANY_HEADER_BYTES", length)
    text = (whole % ",".join(entry % number for number in range(length // len(entry % 2**20)))).encode().ljust(length)
    assert len(text) == length
    (tmp_path / "model.safetensors").write_bytes(length.to_bytes(8, "little") + text)
    peak, before_bytes = PeakMemory(), resident_bytes()
    stored_tensors(tmp_path)
    assert peak.peak_bytes() - before_bytes <= folder_files._HEADER_TIMES * length


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_names_out_of_files_stay_on_one_line(tmp_path):
    write_folder(tmp_path, LLAMA)
    for name in ("a\nb", f"model.layers.{'9' * 5000}.mlp.up_proj.weight"):
        further = {name: np.ones(1, np.float32)}
        rewrite(tmp_path, lambda tensors, further=further: tensors.update(further))
        with pytest.raises(ValueError, match=r"has surplus tensor") as refusal:
            load(tmp_path, jnp.float32)
        assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500
        rewrite(tmp_path, lambda tensors, name=name: tensors.pop(name))
