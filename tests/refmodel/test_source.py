"""One spelling for every kind of model."""

from __future__ import annotations

import sys

import jax.numpy as jnp
import pytest

from refmodel import source
from refmodel.default_model import default_gguf
from refmodel.presets import preset
from refmodel.source import open_config, open_model


def test_a_preset_has_random_weights_that_its_seed_decides():
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


def test_a_missing_hub_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="needs `pip install huggingface_hub`"):
        open_model("someone/some-model")


def test_what_cannot_fit_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(source, "available_host_bytes", lambda: 10**9)
    with pytest.raises(ValueError, match=r"qwen3-4b needs 16.1 GB of weights in float32, the device has 1.0 GB free"):
        open_model("qwen3-4b")
    assert open_config("qwen3-4b").n_layers == 36
