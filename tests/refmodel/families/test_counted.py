"""A family that is not read names the preset that costs it."""

from __future__ import annotations

import pytest

from refmodel.families import FAMILIES
from refmodel.families.counted import COUNTED
from refmodel.presets import PRESETS
from refmodel.read_hf_config import from_hf
from tests.checkpoints import from_gguf
from tests.refmodel.families.test_gguf_headers import DENSE_KEYS, write_gguf


def test_every_preset_that_is_only_counted_is_named():
    named = {name for names in COUNTED.values() for name in names}
    assert named <= PRESETS.keys() and not COUNTED.keys() & FAMILIES.keys()
    assert {name for name, config in PRESETS.items() if config.cannot_run} - named == {"post-35b-a3b"}


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (
            "nemotron_h",
            "model_type is 'nemotron_h', which is not read; its costs: --model nemotron-3-nano-30b-a3b; accepted: ",
        ),
        ("gemma3", "its costs: --model gemma3-4b or gemma3-12b or gemma3-27b; "),
        ("qwen3moe", r"model_type is 'qwen3moe' \(did you mean 'qwen3_moe'\?\); accepted: "),
        ("mixtral", "model_type is 'mixtral'; accepted: "),
    ],
)
def test_config_files(family, said):
    with pytest.raises(ValueError, match=said):
        from_hf({"model_type": family})


def test_gguf_files(tmp_path):
    path = write_gguf(tmp_path / "a.gguf", "nemotron_h_moe", DENSE_KEYS)
    said = "'nemotron_h_moe', which is not read; its costs: --model nemotron-3-nano-30b-a3b; "
    with pytest.raises(ValueError, match=said):
        from_gguf(path)
