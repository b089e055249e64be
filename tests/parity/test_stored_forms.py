"""One model in the forms in which folders hold it: transformers at hand reads the same out of each."""

from __future__ import annotations

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from safetensors.numpy import load_file, save_file

import refmodel
from tests.golden.make_golden import build

pytestmark = pytest.mark.usefixtures("fast_compile")
TOKENS = np.arange(11)[None] % 53


def rewritten(change):
    def write(folder):
        tensors = load_file(folder / "model.safetensors")
        save_file(change(tensors), folder / "model.safetensors", metadata={"format": "pt"})

    return write


def stale_index(folder):
    """An index that names shards of an older model, which are not there."""
    names = load_file(folder / "model.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, "model-00001-of-00002.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def head_of_its_own(tensors):
    embedding = tensors["model.embed_tokens.weight"]
    return tensors | {"lm_head.weight": np.ascontiguousarray(embedding[::-1])}


FORMS = {
    "as saved": lambda folder: None,
    "a stale index": stale_index,
    "no prefix": rewritten(lambda tensors: {name.removeprefix("model."): one for name, one in tensors.items()}),
    "a head of its own": rewritten(head_of_its_own),
    "a copy of the head": rewritten(lambda t: t | {"lm_head.weight": t["model.embed_tokens.weight"].copy()}),
    "the head alone": rewritten(
        lambda t: {("lm_head.weight" if "embed" in name else name): one for name, one in t.items()}
    ),
    "rotary buffers": rewritten(lambda t: t | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(7, np.float32)}),
}


@pytest.mark.parametrize("form", FORMS)
def test_logits_are_those_of_transformers(form, tmp_path):
    folder = tmp_path / "model"
    build("dense-tied", 5).save_pretrained(folder)
    FORMS[form](folder)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").float().eval()
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(TOKENS)).logits.numpy()
    found, _ = refmodel.load(str(folder), jnp.float32).prefill(TOKENS, logits="all")
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    shutil.rmtree(folder)
