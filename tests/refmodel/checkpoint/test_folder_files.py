"""Which files of a folder are its weights: as transformers chooses, none outside it; and what is said instead."""

from __future__ import annotations

import json
import os
import shutil
from mmap import ALLOCATIONGRANULARITY

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from refmodel.checkpoint import safetensors_folder
from refmodel.checkpoint.find import open_config
from refmodel.checkpoint.folder_files import shard_names, stored_tensors
from tests.checkpoints import load, load_tokenizer
from tests.refmodel.checkpoint.written_folder import LLAMA, assert_same, rewrite, write_folder

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"


def test_a_single_file_counts_whatever_a_stale_index_says(tmp_path):
    _, params = write_folder(tmp_path / "new", LLAMA)
    write_folder(tmp_path / "old", LLAMA | {"hidden_size": 12}, n_shards=3)
    for file in (tmp_path / "old").glob("model*"):
        shutil.copy(file, tmp_path / "new")
    assert_same(load(tmp_path / "new", jnp.float32)[1], params)


def test_no_more_of_a_file_is_mapped_than_the_tensor_that_is_read(tmp_path):
    """What was read of a mapping stays resident as long as that: with one for the file, twice the parameters."""
    numbers = {"a": np.arange(7919, dtype=np.float32), "b": np.zeros((0, 3), np.float16), "c": np.arange(5.0)}
    save_file(numbers, tmp_path / "model.safetensors")
    stored = {name: one.array() for name, one in stored_tensors(tmp_path).items()}
    chex.assert_trees_all_equal(stored, numbers)
    assert stored["a"].nbytes <= len(stored["a"]._mmap) < 4 * 7919 + ALLOCATIONGRANULARITY
    assert len(stored["c"]._mmap) < ALLOCATIONGRANULARITY


@pytest.mark.parametrize("outside", ["../{}", "sub/../../{}", "{root}/{}", "..\\{}", "C:\\{}", "\\{}"])
def test_a_shard_outside_the_folder_is_refused(tmp_path, outside):
    folder = tmp_path / "folder"
    write_folder(folder, LLAMA, n_shards=3)
    shutil.copy(folder / "model-1.safetensors", tmp_path)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    name = outside.format("model-1.safetensors", root=tmp_path)
    index["weight_map"] = {k: name if v == "model-1.safetensors" else v for k, v in index["weight_map"].items()}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"index.json names '.*'; accepted: names of .* in its own folder"):
        load(folder, jnp.float32)


@pytest.mark.parametrize(
    "name", ["*", "*.safetensors", "model-[0-9].safetensors", "?.safetensors", "", ".", "config.json", "x" * 999_999]
)
def test_a_name_that_is_no_shard_s_is_refused(tmp_path, name):
    """The Hub's package takes names for patterns: one star would fetch everything."""
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ValueError, match=r"index.json names '.*'; accepted: names of .safetensors files") as refusal:
        shard_names(tmp_path / "model.safetensors.index.json")
    assert len(str(refusal.value)) < 999


def test_links_as_the_hub_s_cache_has_them_are_read_and_other_things_refused(tmp_path):
    folder = tmp_path / "folder"
    _, params = write_folder(folder, LLAMA, n_shards=3)
    (folder / "model-1.safetensors").rename(tmp_path / "blob")
    (folder / "model-1.safetensors").symlink_to("../blob")
    assert_same(load(folder, jnp.float32)[1], params)
    (folder / "model-1.safetensors").unlink()
    os.mkfifo(folder / "model-1.safetensors")
    with pytest.raises(ValueError, match=r"model-1.safetensors is no regular file but a pipe: save what"):
        load(folder, jnp.float32)


def test_what_there_is_instead_of_weights_is_said_and_costs_go_on(tmp_path):
    write_folder(tmp_path, LLAMA, n_shards=3)
    index, shards = tmp_path / "model.safetensors.index.json", sorted(tmp_path.glob("model-*"))
    shards[1].unlink()
    refusals = [(rf"{tmp_path} lacks {shards[1].name}, of the 3 shards that .*index.json names: fetch", lambda: None)]
    refusals.append((r"2 other safetensors files, the first of them model-0.safetensors: fetch", index.unlink))

    def pickle():
        shards[0].unlink()
        shards[2].rename(tmp_path / "pytorch_model.bin")

    refusals.append((r"only pytorch_model.bin, which is pickled, and nothing is unpickled here: save it as", pickle))
    refusals.append((r"no model.safetensors and no .*index.json here", (tmp_path / "pytorch_model.bin").unlink))
    for message, change in refusals:
        change()
        with pytest.raises(ValueError, match=message):
            load(tmp_path, jnp.float32)
        assert open_config(str(tmp_path)).n_layers == 3


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "m.gguf"])
def test_a_pointer_of_git_is_called_one(tmp_path, file):
    write_folder(tmp_path, LLAMA)
    (tmp_path / file).write_text(POINTER)
    with pytest.raises(ValueError, match=rf"{file} is a Git LFS pointer, not the file itself; `git lfs pull`"):
        load(tmp_path / file if file == "m.gguf" else tmp_path, jnp.float32)
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"{}", r"config.json: no model here: one file of a model's folder; give the folder, "),
        ("model.safetensors", b"\0", r"one file of a model's folder; give the folder, "),
        ("pytorch_model.bin", b"PK\3\4", r"pickled by PyTorch, and nothing is unpickled here; save it as safetensors"),
        ("ggml-model.bin", b"tjgg\3\0\0\0", r"a file of the time before GGUF; convert it"),
        ("notes", b"words", r"notes: no model here: it does not begin with GGUF; accepted: a folder with config.json"),
    ],
)
def test_a_file_that_is_no_model_is_said_to_be_what_it_is(tmp_path, file, content, message):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        open_config(str(tmp_path / file))


def test_a_pipe_is_not_waited_on(tmp_path):
    for name in ("m.gguf", "model"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name}: no model here: it is no regular file"):
            open_config(str(tmp_path / name))


def test_a_folder_without_a_config_names_the_gguf_file_in_it(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"no config.json here, .*; it holds m.gguf: give that file"):
        open_config(str(tmp_path))


def test_a_head_is_the_embedding_where_its_numbers_are_whatever_their_type(tmp_path):
    _, params = write_folder(tmp_path, LLAMA)
    rewrite(tmp_path, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].astype(np.float16)}))
    config, found = load(tmp_path, jnp.float32)
    assert not config.tied_head
    np.testing.assert_array_equal(found["head"]["kernel"].T, params["embed"]["embedding"].astype(np.float16))
    rewrite(tmp_path, lambda t: t.update({"model.embed_tokens.weight": t["lm_head.weight"].astype(np.float32)}))
    config, found = load(tmp_path, jnp.float32)
    assert config.tied_head and "head" not in found
    rewrite(tmp_path, lambda t: t.update({"model.embed_tokens.weight": t["lm_head.weight"].view(jnp.bfloat16)}))
    assert not load(tmp_path, jnp.float32)[0].tied_head


@pytest.mark.parametrize("shape", [(), (17,), (16, 11), (0, 11), (17, 11, 1)])
def test_a_misshapen_head_beside_the_embedding_is_refused(tmp_path, shape):
    write_folder(tmp_path, LLAMA)
    rewrite(tmp_path, lambda t: t.update({"lm_head.weight": np.ones(shape, np.float32)}))
    with pytest.raises(ValueError, match=r"lm_head.weight has shape \(.*needs \(17, 11\)$"):
        load(tmp_path, jnp.float32)


def test_costs_look_at_no_weight(tmp_path, monkeypatch):
    """Also of a model that is called tied and stores a head, whose numbers loading compares with the embedding's."""
    write_folder(tmp_path, LLAMA)
    rewrite(tmp_path, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}))
    monkeypatch.setattr(safetensors_folder, "stored_tensors", lambda _: pytest.fail("weights are looked at"))
    assert open_config(str(tmp_path)).tied_head
