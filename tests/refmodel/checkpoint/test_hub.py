"""Models of the Hub, its package stubbed: config.json first, then only the files that are read."""

from __future__ import annotations

import fnmatch
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

import refmodel
from eval.cli import main
from refmodel import room
from refmodel.checkpoint.find import open_config
from tests.refmodel.checkpoint.written_folder import LLAMA, assert_same, rewrite, write_folder
from tests.refmodel.tokenizer.test_folder import byte_tokenizer

OTHERS = ("consolidated.safetensors", "original/params.json", "onnx/model.safetensors", "pytorch_model.bin")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """(the repository's folder, the names of files that were fetched of it)."""
    repository, cache, fetched = tmp_path / "repository", tmp_path / "cache", []

    def snapshot_download(repo_id, allow_patterns):
        assert repo_id == "someone/model"
        for path in sorted(file for file in repository.rglob("*") if file.is_file()):
            name = str(path.relative_to(repository))
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                fetched.append(name)
                (cache / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, cache / name)
        return str(cache)

    cache.mkdir()
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    monkeypatch.chdir(tmp_path)
    return repository, fetched


def fill(repository: Path, **settings):
    found = write_folder(repository, LLAMA | {"vocab_size": 257}, **settings)
    byte_tokenizer("<s>").save(str(repository / "tokenizer.json"))
    (repository / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 3]}))
    for name in OTHERS:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_bytes(b"gigabytes")
    return found


@pytest.mark.parametrize("n_shards", [1, 3])
def test_only_what_is_read_is_fetched(hub, n_shards):
    repository, fetched = hub
    _, params = fill(repository, n_shards=n_shards)
    model = refmodel.load("someone/model")
    assert_same(model.params, params)
    assert (model.config.name, model.end_tokens, model.encode("a").shape) == ("someone/model", (3, 5), (1, 1))
    shards = [f"model-{i}.safetensors" for i in range(3)]
    weights = ["model.safetensors"] if n_shards == 1 else ["model.safetensors.index.json", *shards]
    assert sorted(fetched) == sorted(["config.json", "generation_config.json", "tokenizer.json", *weights])
    assert fetched[0] == "config.json"


def test_what_is_refused_is_refused_before_gigabytes(hub, monkeypatch):
    repository, fetched = hub
    fill(repository)
    monkeypatch.setattr(room, "free_device_bytes", lambda: 1000)
    with pytest.raises(ValueError, match=r"0.0 GB free"):
        refmodel.load("someone/model", jnp.float32)
    (repository / "config.json").write_text(json.dumps(LLAMA | {"model_type": "unheard-of"}))
    with pytest.raises(ValueError, match="unheard-of"):
        refmodel.load("someone/model")
    assert "model.safetensors" not in fetched


def test_an_index_that_names_a_pattern_fetches_nothing_more(hub):
    repository, fetched = hub
    fill(repository, n_shards=3)
    (repository / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "*"}}))
    with pytest.raises(ValueError, match=r"index.json names '\*'; accepted: names of .safetensors files"):
        refmodel.load("someone/model")
    assert fetched[-1] == "model.safetensors.index.json" and not set(fetched) & set(OTHERS)


def test_a_bad_end_token_is_refused_before_gigabytes(hub):
    repository, fetched = hub
    fill(repository)
    (repository / "generation_config.json").write_text(json.dumps({"eos_token_id": "</s>"}))
    with pytest.raises(ValueError, match=r"generation_config.json: eos_token_id is '</s>'; accepted: a token id"):
        refmodel.load("someone/model")
    assert "model.safetensors" not in fetched


def test_costs_of_a_hub_id_take_its_config_alone(hub, capsys):
    repository, fetched = hub
    config, _ = fill(repository)
    assert open_config("someone/model").n_layers == config.n_layers
    assert main(["crossover", "--model", "someone/model", "--layout", "swa(5)"]) == 0
    assert set(fetched) == {"config.json"}


def test_costs_of_a_hub_id_are_those_of_its_folder(hub):
    """Also of a tied model that stores a head of its own, which loading takes."""
    repository, _ = hub
    fill(repository)
    rewrite(repository, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"] + 1}))
    at_hub, in_folder = open_config("someone/model"), open_config(str(repository))
    assert (at_hub.params, at_hub.linear_macs) == (in_folder.params, in_folder.linear_macs)
    assert refmodel.load("someone/model").config.params == at_hub.params + 257 * 11


def test_a_prompt_without_a_tokenizer_is_refused_before_the_weights(hub, capsys):
    repository, fetched = hub
    fill(repository)
    (repository / "tokenizer.json").unlink()
    assert main(["generate", "a", "--model", "someone/model"]) == 2
    assert "has no tokenizer.json" in capsys.readouterr().err and fetched == ["config.json"]
