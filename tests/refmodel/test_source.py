"""One spelling for every kind of model."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import eval
import refmodel
from eval.commands.resolve import shape_named
from eval.measure.records.file import config_of
from eval.quality.divergence import final_hidden
from refmodel import generate as generate_module
from refmodel import source
from refmodel.checkpoint.find import open_config
from refmodel.checkpoint.folder_files import StoredTensor
from refmodel.default_model import default_gguf
from refmodel.generate import generate
from refmodel.model import prefill, step
from refmodel.presets import preset
from refmodel.room import DECODE_ROOM
from refmodel.source import open_model
from tests.eval.measure.records.test_file import ONE
from tests.refmodel.checkpoint.written_folder import LLAMA, write_folder

jitted_step = jax.jit(step, static_argnums=0)


def test_a_preset_has_random_weights_that_its_seed_decides(fast_compile):
    one, same, other = (open_model("tiny-moe", seed=seed) for seed in (1, 1, 2))
    assert one.weights == "random (seed 1)" and one.tokenizer is None
    q = [model.params["blocks"]["moe"]["attn"]["q"] for model in (one, same, other)]
    assert (q[0] == q[1]).all() and (q[0] != q[2]).any()


def test_the_default_model_is_smollm2_and_reads():
    try:
        default_gguf()
    except ValueError as error:
        pytest.skip(str(error))
    model = open_model(dtype=jnp.bfloat16)
    assert model.config == preset("smollm2-135m")
    assert open_config("smollm2-135m").n_layers == model.config.n_layers
    assert model.tokenizer.decode(model.tokenizer.encode("prefill wall").ids) == "prefill wall"


@pytest.mark.parametrize("spec", ["~nobodyxyz/m", "x" * 300, "~nobodyxyz", "a\0b", f"./{'y' * 300}/z.gguf"])
def test_a_name_that_no_file_can_have_is_no_model(spec):
    named = replace(ONE, run=replace(ONE.run, model=spec))
    for read in (refmodel.load, open_config, shape_named, lambda _: config_of([named], Path("records.jsonl"))):
        with pytest.raises(ValueError, match=r"no model '|records of '") as caught:
            read(spec)
        assert "\n" not in str(caught.value)


def test_a_missing_hub_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="needs `pip install huggingface_hub`"):
        open_model("someone/some-model")


@pytest.mark.parametrize("ids", [[5, 257], [5, 151_643], [5, -1], [10_000_000], [2**40]])
def test_ids_outside_the_vocabulary_are_refused(ids):
    model = open_model("tiny-dense")
    with pytest.raises(ValueError, match=rf"token id {ids[-1]} is not in the vocabulary; accepted: 0 to 256"):
        model.prefill(ids)
    if ids[-1] < 2**31:
        for enter in (final_hidden, lambda *args: generate(*args[:2], args[2][None], 1)):
            with pytest.raises(ValueError, match=r"not in the vocabulary; accepted: 0 to 256"):
                enter(model.config, model.params, jnp.asarray(ids))


def test_a_prompt_beyond_what_the_model_is_made_for_is_said(monkeypatch, caplog):
    model = refmodel.load("tiny-dense")
    monkeypatch.setattr(source, "_prefill", lambda *_: None)
    for tokens in (model.config.max_positions, model.config.max_positions + 1):
        assert not caplog.records
        model.prefill(np.ones(tokens, int))
    (record,) = caplog.records
    assert record.getMessage().endswith("the prompt has 40,961: what comes beyond may make no sense")


def test_a_layout_may_come_with_the_model(fast_compile):
    model = refmodel.load("tiny-dense", layout="swa(5)+routed(5|full)", seed=3)
    assert model.config == preset("tiny-dense").with_layout("swa(5)+routed(5|full)")
    chex.assert_trees_all_equal(
        model.params, open_model("tiny-dense", seed=3).with_layout(model.config.layout, 3).params
    )


def test_a_prompt_is_ids_of_one_row_or_several(fast_compile):
    model = refmodel.load("tiny-dense", layout="swa(5)+full")
    tokens_bt = jnp.arange(2 * 13).reshape(2, 13)
    expected, _ = jax.jit(prefill, static_argnums=0)(model.config, model.params, tokens_bt)
    found, cache = model.prefill(tokens_bt, chunk_tokens=5, capacity_tokens=17)
    chex.assert_trees_all_close(found, expected, atol=1e-4)
    assert int(cache.length) == 13 and cache.runs[1].keys.shape[2] == 17
    chex.assert_trees_all_close(model.prefill(tokens_bt[1].tolist())[0], expected[1:], atol=1e-4)
    assert model.prefill(tokens_bt, logits="all", impl="blockwise")[0].shape == (2, 13, model.config.vocab_size)


def test_decode_goes_on_with_the_cache_of_a_prompt(fast_compile):
    model = refmodel.load("tiny-dense", layout="full+evict_after(snapkv,budget=7,recent=3)")
    ids = jnp.arange(13)[None]
    _, cache = model.prefill(ids[:, :11])
    logits = []
    for t in (11, 12):
        after, cache = jitted_step(model.config, model.params, cache, ids[:, t : t + 1])
        logits.append(after)
    _, cache = model.prefill(ids[:, :11], capacity_tokens=13)
    for t, found in zip((11, 12), logits, strict=True):
        expected, cache = jitted_step(model.config, model.params, cache, ids[:, t : t + 1])
        chex.assert_trees_all_close(found, expected, atol=1e-5)


def test_a_cache_has_room_for_some_tokens_more_unless_the_length_changes_the_model(fast_compile):
    model = refmodel.load("tiny-dense")
    assert model.prefill([1, 2, 3])[1].runs[0].keys.shape[2] == 3 + DECODE_ROOM
    assert model.with_layout("spans(2|1+0.5N)").prefill([1, 2, 3])[1].runs[0].keys.shape[2] <= 3


@pytest.mark.parametrize("tokens", [[], [0.5, 1.0], [[[1]]]])
def test_what_is_no_prompt_is_refused(tokens, fast_compile):
    with pytest.raises(ValueError, match=r"tokens must be ids, \[B, T\] or \[T\], got "):
        refmodel.load("tiny-dense").prefill(tokens)


def test_a_model_without_a_tokenizer_reads_no_text():
    with pytest.raises(ValueError, match=r"tiny-dense with random \(seed 0\) weights has no tokenizer: give token ids"):
        refmodel.load("tiny-dense").encode("words")


def test_what_is_left_out_is_logged(tmp_path, caplog):
    write_folder(tmp_path, LLAMA)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"mtp.fc.weight": np.ones(3, np.float32)}, tmp_path / "model.safetensors")
    open_model(str(tmp_path))
    (record,) = (one for one in caplog.records if one.name == "refmodel")
    assert record.getMessage().endswith("left out: 1 tensors of layers that predict tokens beyond the next")


@pytest.mark.parametrize("ends", ["2", 2.0, True, [[2]], {"a": 1}, [10**400, "x"]])
def test_a_bad_end_token_is_refused_before_weights(tmp_path, monkeypatch, ends):
    write_folder(tmp_path, LLAMA | {"eos_token_id": ends})
    monkeypatch.setattr(StoredTensor, "array", lambda _: pytest.fail("weights are read"))
    with pytest.raises(ValueError, match=r"config.json: eos_token_id is .*; accepted: a token id, or a list of them"):
        open_model(str(tmp_path))


@pytest.mark.parametrize(("ends", "outside"), [([-1, 16], "-1"), ([16, 17, 2**40], "17, 1099511627776")])
def test_end_tokens_that_the_vocabulary_does_not_have_are_left_out_and_said(tmp_path, caplog, ends, outside):
    write_folder(tmp_path, LLAMA | {"eos_token_id": ends})
    assert open_model(str(tmp_path)).end_tokens == (16,)
    (record,) = (one for one in caplog.records if one.name == "refmodel")
    assert record.getMessage().endswith(f"left out: end token {outside}, for the vocabulary is 0 to 16")


@pytest.mark.parametrize("stop", [-1, 257, 2**32, True, 1.0, "a"])
def test_a_stop_that_the_vocabulary_does_not_have_is_refused_before_the_prompt(stop, monkeypatch):
    model = open_model("tiny-dense")
    monkeypatch.setattr(generate_module, "_prefill", lambda *_: pytest.fail("the prompt is computed"))
    with pytest.raises(ValueError, match=r"stop_tokens must be a whole number from 0 to 256, got "):
        generate(model.config, model.params, jnp.ones((1, 3), int), 2, stop_tokens=[stop])


def test_compare_notices_a_missing_tokenizer_before_weights(tmp_path, monkeypatch):
    write_folder(tmp_path, LLAMA)
    monkeypatch.setattr(StoredTensor, "array", lambda _: pytest.fail("weights are read"))
    with pytest.raises(ValueError, match=r"has no tokenizer.json"):
        eval.compare(str(tmp_path), ["swa(5)"], tokens=[16], quality_tokens=16)
