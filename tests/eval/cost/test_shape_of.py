"""The shape of whatever stands for a model."""

from __future__ import annotations

import json

import pytest

import eval
import refmodel
from eval.cost.shape_of import shape_of
from refmodel.presets import PRESETS, preset
from tests.refmodel.checkpoint.written_folder import LLAMA


def test_a_name_a_folder_a_model_and_a_shape_are_one(tmp_path):
    config = preset("tiny-dense")
    assert shape_of("tiny-dense") is shape_of(config) is config
    assert shape_of(refmodel.load("tiny-dense")) == config
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert shape_of(str(tmp_path)).vocab_size == 17
    assert eval.crossover_tokens("tiny-dense") == eval.crossover_tokens(config) is not None
    assert eval.prefill_flops("tiny-dense", "1k") == eval.prefill_flops(config, 1024)
    (counted, *_) = (name for name, one in PRESETS.items() if one.cannot_run)
    assert shape_of(counted) is PRESETS[counted]


@pytest.mark.parametrize(
    ("model", "said"),
    [("tiny-dens", "no model 'tiny-dens' .did you mean 'tiny-dense'.*a folder, a GGUF file, or a Hub id"),
     (5, "a model's shape is wanted, .* or its name, got 5"), (None, "got None"), (object, "got <class 'object'>")],
)  # fmt: skip
def test_what_is_no_model_is_refused(model, said):
    with pytest.raises(ValueError, match=said) as refusal:
        eval.crossover_tokens(model)
    assert "\n" not in str(refusal.value)
