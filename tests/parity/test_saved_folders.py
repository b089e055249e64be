"""Folders that are saved here, read by transformers at hand: the same model, the same ids."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

import refmodel
from refmodel.checkpoint import open_checkpoint
from refmodel.checkpoint.find import open_config
from tests.golden.make_golden import CASES, build
from tests.refmodel.saving.test_save import drawn
from tests.refmodel.tokenizer.test_golden_texts import FOLDERS, golden

DENSE = str(FOLDERS[0].parents[1] / "dense-tied")
TOLERANCE, OF_TWO_IMPLEMENTATIONS = 1e-5, 1e-4
MAY_DIFFER = {
    "_name_or_path", "transformers_version", "bos_token_id", "pad_token_id",  # which a description does not have
    "intermediate_size", "max_window_layers",  # where no layer asks for it
    "rope_parameters", "mlp_only_layers", "decoder_sparse_step",  # other words for the same
    "norm_topk_prob", "attention_bias",  # said, where the family knows but one
}  # fmt: skip
TOKENS = np.arange(37)[None] * 7 % 53
pytestmark = pytest.mark.usefixtures("fast_compile")


def read(folder):
    model, said = transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", experts_implementation="eager", output_loading_info=True
    )
    return model.eval(), said


def logits_of(model):
    with torch.no_grad():
        return model(torch.from_numpy(TOKENS), use_cache=False).logits.numpy()


@pytest.mark.parametrize("case", CASES)
def test_a_family_s_model_is_the_one_that_was_saved(case, tmp_path):
    theirs = build(case, 109)
    theirs.save_pretrained(tmp_path / "theirs")
    refmodel.load(str(tmp_path / "theirs")).save(tmp_path / "ours")
    found, said = read(tmp_path / "ours")
    assert not any(said.values()), said
    assert type(found) is type(theirs) and found.dtype == torch.float32
    assert np.abs(logits_of(found) - logits_of(theirs)).max() < TOLERANCE
    of_ours, of_theirs = found.config.to_dict(), theirs.config.to_dict()
    differing = {key for key in of_ours.keys() | of_theirs.keys() if of_ours.get(key) != of_theirs.get(key)}
    assert differing <= MAY_DIFFER, {key: (of_ours.get(key), of_theirs.get(key)) for key in differing - MAY_DIFFER}


def test_windows_are_transformers_too_and_other_layouts_are_left_alone(tmp_path):
    full = refmodel.load(DENSE)
    model = full.with_layout("swa(5)+full")
    model.save(tmp_path / "windows")
    full.with_layout("routed(3|full)").save(tmp_path / "routed")
    for name, expected in (("windows", model), ("routed", full)):
        found, said = read(tmp_path / name)
        assert not said["missing_keys"] and all(key.startswith("prefillwall.") for key in said["unexpected_keys"])
        ours, _ = expected.prefill(TOKENS, logits="all")
        assert np.abs(logits_of(found) - ours).max() < OF_TWO_IMPLEMENTATIONS


def test_layers_that_no_family_has_are_refused(tmp_path):
    drawn(open_config("tiny-dense").with_layout("delta(2,2,8,8)+full")).save(tmp_path / "m")
    with pytest.raises(ValueError, match="prefillwall"):
        transformers.AutoConfig.from_pretrained(tmp_path / "m")


def test_16_bits_stay_16_bits_and_end_tokens_are_known(tmp_path):
    model = refmodel.load(DENSE, dtype=jnp.bfloat16)
    type(model)(model.config, model.params, None, model.weights, end_tokens=(3, 5)).save(tmp_path / "m")
    found, _ = read(tmp_path / "m")
    assert found.dtype == torch.bfloat16 and found.generation_config.eos_token_id == [3, 5]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_saved_tokenizer_gives_the_same_ids(folder, tmp_path):
    model = refmodel.load(DENSE)
    tokenizer = open_checkpoint(folder).tokenizer()
    type(model)(model.config, model.params, tokenizer, model.weights).save(tmp_path / "m")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    for text, ids in golden(folder):
        assert theirs(text)["input_ids"] == ids, text
    assert json.loads((tmp_path / "m/config.json").read_text())["model_type"] == "qwen3"
