"""A model larger than memory is refused before its weights are read or drawn, with what would fit."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import pytest

import eval as prefillwall
from eval.cli import main
from eval.measure import comparison_run, layers_apart
from refmodel import device_memory, room
from refmodel.cache import init_cache
from refmodel.checkpoint.find import open_config
from refmodel.checkpoint.folder_files import StoredTensor
from refmodel.checkpoint.random_weights import RandomWeights
from refmodel.generate import decode, generate
from refmodel.presets import preset
from refmodel.sampling import Sampling
from refmodel.source import open_model
from refmodel.tree import abstract_params
from tests.refmodel.checkpoint.written_folder import LLAMA, write_folder

GB = 10**9
WHOLE = "qwen3-4b needs 16.1 GB of weights in float32, the device has {free:.1f} GB free; in bfloat16 it takes "
APART = "qwen3-4b needs 2.0 GB of weights, one layer of each kind, in float32, the device has {free:.1f} GB free; "
INSTEAD = "costs need no weights: see `prefillwall crossover`"


@pytest.fixture
def free(monkeypatch):
    """Says how much memory is free, and that no weights are drawn."""
    monkeypatch.setattr(RandomWeights, "params", lambda *_: pytest.fail("weights are drawn"))
    monkeypatch.setattr(comparison_run, "random_layers", lambda *_: pytest.fail("layers are drawn"))
    return lambda n_bytes: monkeypatch.setattr(device_memory, "available_host_bytes", lambda: n_bytes)


@pytest.mark.parametrize(
    ("free_gb", "instead"),
    [
        (1.0, "8.0 GB; {apart} takes 2.0 GB; "),
        (3.0, "8.0 GB; {apart} takes 2.0 GB, which fits; "),
        (
            9.0,
            "8.0 GB, which fits; {apart} takes 2.0 GB, which fits; ",
        ),
    ],
)
def test_what_cannot_fit_is_refused_by_every_entry_with_what_would(free, free_gb, instead, tmp_path, capsys):
    free(int(free_gb * GB))
    said = WHOLE.format(free=free_gb) + instead.format(apart="`prefillwall compare --layers-apart`") + INSTEAD
    assert open_config("qwen3-4b").n_layers == 36
    for call in (lambda: open_model("qwen3-4b"), lambda: prefillwall.compare("qwen3-4b", tokens=[17], out=tmp_path)):
        with pytest.raises(ValueError) as refused:
            call()
        assert str(refused.value) == said
    assert main(["compare", "--model", "qwen3-4b", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"prefillwall compare: {said}\n"


def test_so_are_layers_apart(free, tmp_path, capsys):
    free(GB)
    said = APART.format(free=1.0) + "in bfloat16 it takes 1.0 GB, which fits; " + INSTEAD
    with pytest.raises(ValueError) as refused:
        prefillwall.compare("qwen3-4b", tokens=[17], layers_apart=True)
    assert str(refused.value) == said
    assert main(["compare", "--model", "qwen3-4b", "--layers-apart", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"prefillwall compare: {said}\n"
    free(GB // 2)
    with pytest.raises(ValueError, match=r"needs 1.0 GB of weights, one .* in bfloat16, .* free; costs"):
        prefillwall.compare("qwen3-4b", tokens=[17], layers_apart=True, dtype=jnp.bfloat16)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_layers_apart_take_what_is_counted(dtype, monkeypatch):
    config = preset("tiny-moe").with_layout("swa(5)+full")
    drawn = jax.eval_shape(lambda: layers_apart.random_layers(config, 0, dtype))
    needed_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(drawn))
    monkeypatch.setattr(room, "free_device_bytes", lambda: needed_bytes)
    room.refuse_what_cannot_fit(config, dtype, apart=True)
    monkeypatch.setattr(room, "free_device_bytes", lambda: needed_bytes - 1)
    with pytest.raises(ValueError, match="one layer of each kind"):
        room.refuse_what_cannot_fit(config, dtype, apart=True)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_checkpoint_that_cannot_fit_is_refused_before_it_is_read(dtype, tmp_path, monkeypatch, capsys):
    """It counts what the weights become, not what they are stored as."""
    write_folder(tmp_path, LLAMA, jnp.bfloat16)
    monkeypatch.setattr(StoredTensor, "array", lambda _: pytest.fail("weights are read"))
    needed_bytes = open_config(str(tmp_path)).params * jnp.dtype(dtype).itemsize
    monkeypatch.setattr(room, "free_device_bytes", lambda: needed_bytes - 1)
    said = rf"of weights in {jnp.dtype(dtype).name}, the device has 0.0 GB free"
    with pytest.raises(ValueError, match=said):
        open_model(str(tmp_path), dtype)
    words = ["compare", "--quality-tokens", "0", "--dtype", jnp.dtype(dtype).name, "--out", str(tmp_path / "out")]
    assert main([*words, "--model", str(tmp_path)]) == 2
    assert re.search(said, capsys.readouterr().err)
    monkeypatch.undo()
    monkeypatch.setattr(room, "free_device_bytes", lambda: needed_bytes)
    assert open_model(str(tmp_path), dtype).weights == "checkpoint"


@pytest.mark.parametrize(("layout", "dtype", "rows"), [("3*full+swa(5)", jnp.float32, 1), ("full", jnp.bfloat16, 3)])
def test_so_many_tokens_fit_as_their_caches_and_what_draws_them(layout, dtype, rows, monkeypatch):
    config, tokens = preset("tiny-dense").with_layout(layout), 4567
    cache = init_cache(config, rows, tokens, dtype)
    needed_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(cache)) + 16 * rows * tokens
    monkeypatch.setattr(room, "free_device_bytes", lambda: needed_bytes)
    room.refuse_a_cache_that_cannot_fit(config, rows, tokens, dtype)
    with pytest.raises(ValueError, match=r"4,568 tokens of tiny-dense needs 0.0 GB in .*; 4,567 tokens fit"):
        room.refuse_a_cache_that_cannot_fit(config, rows, tokens + 1, dtype)
    weights_bytes = config.params * jnp.dtype(dtype).itemsize
    monkeypatch.setattr(room, "free_device_bytes", lambda: needed_bytes + weights_bytes)
    room.refuse_a_cache_that_cannot_fit(config, rows, tokens, dtype, weights_bytes)
    with pytest.raises(ValueError, match=r" beside 0.0 GB of weights, the device has .*; 4,567 tokens fit"):
        room.refuse_a_cache_that_cannot_fit(config, rows, tokens + 1, dtype, weights_bytes)


def test_what_follows_the_prompt_takes_no_share(monkeypatch):
    config, ids = preset("tiny-dense").with_layout("evict(knorm, budget=0.5, chunk=8)"), jnp.ones((1, 20), jnp.int32)
    params = abstract_params(config, jnp.float32)
    cache = init_cache(config.at_length(20), 1, 419)
    monkeypatch.setattr(
        room, "free_device_bytes", lambda: sum(leaf.nbytes for leaf in jax.tree.leaves(cache)) + 16 * 419
    )
    decode(config, params, ids, 400, Sampling())
    with pytest.raises(ValueError, match="a cache for 419 tokens of tiny-dense needs"):
        decode(config.with_layout("evict(knorm, budget=11, chunk=8)"), params, ids, 400, Sampling())


def test_a_cache_that_cannot_fit_is_refused_by_every_entry(monkeypatch):
    model, ids = open_model("tiny-dense"), jnp.array([[2, 7, 1]])
    monkeypatch.setattr(device_memory, "available_host_bytes", lambda: GB)
    for call in (
        lambda: model.prefill(ids, capacity_tokens=10**9),
        lambda: model.with_layout("swa(5)").prefill(ids, capacity_tokens=10**9),
        lambda: generate(model.config, model.params, ids, 10**9 - 2),
    ):
        with pytest.raises(
            ValueError, match=r"a cache for 1,000,000,000 tokens of tiny-dense needs .* the device has "
        ):
            call()
    with pytest.raises(ValueError, match="at most 2,147,483,646 tokens, for positions are int32, got 10,000,000,002"):
        generate(model.config, model.params, ids, 10**10)
