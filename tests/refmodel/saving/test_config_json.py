"""config.json out of descriptions: of every preset, every spelling of positions, and models of no family's name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from refmodel.decoder import decoder
from refmodel.families.config_written import written_scaling
from refmodel.own_fields import OWN
from refmodel.parts import Rope
from refmodel.presets import PRESETS, RUNNING
from refmodel.read_hf_config import from_hf
from refmodel.rope_scaling import Divided, Linear, NoPositions, Proportional
from refmodel.saving.config_json import written_config
from tests.golden.position_cases import BASES, CASES

REAL = sorted(Path(__file__).parents[2].glob("golden/real/*/config.json"))
OTHERWISE = {"max_window_layers", "sliding_window", "rope_scaling", "intermediate_size", "architectures"} | {
    f"{token}_token_id" for token in ("bos", "eos", "pad")
}
"""What is said in other words, or only where it matters."""

SMALL = decoder("small", 5, d_model=20, n_heads=6, n_kv_heads=2, head_dim=14, vocab_size=17, d_ff=13)


def said(config):
    """The fields, through a file and back."""
    fields = json.loads(json.dumps(written_config(config).fields, allow_nan=False))
    assert dataclasses.replace(from_hf(fields), name=config.name) == config
    return fields


@pytest.mark.parametrize("name", RUNNING)
def test_a_preset_is_said_by_its_family(name):
    config = PRESETS[name]
    fields = said(config)
    assert OWN not in fields
    assert fields["model_type"].removesuffix("_text") == (config.family or fields["model_type"]).removesuffix("_text")


@pytest.mark.parametrize("case", CASES)
def test_positions_are_said(case):
    base, fields = CASES[case]
    config = from_hf(BASES[base] | fields)
    assert not config.cannot_run and OWN not in said(config)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.parent.name)
def test_published_files_are_said_again(path):
    fields, own = said(from_hf(path)), json.loads(path.read_text())
    for key in fields.keys() & own.keys() - OTHERWISE:
        assert (fields[key] or None) == (own[key] or None), key


@pytest.mark.parametrize(
    ("changes", "model_type"),
    [
        ({}, "qwen3"),
        ({"qk_norm": False}, "llama"),
        ({"qk_norm": False, "attention_bias": "qkv"}, "qwen2"),
        ({"rope": Rope(3e4, Divided((1.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0), 1.5))}, "qwen3"),
        ({"rope": Rope(3e4, Linear(2.0))}, "qwen3"),
    ],
)
def test_a_model_of_no_family_s_name_is_said_by_the_first_that_can(changes, model_type):
    assert said(SMALL.with_each_layer(**changes))["model_type"] == model_type


def test_layers_without_positions_are_smollm3_s():
    still = Rope(scaling=NoPositions())
    layers = [dataclasses.replace(one, rope=still if i == 2 else one.rope) for i, one in enumerate(SMALL.layers)]
    mixed = dataclasses.replace(SMALL.with_each_layer(qk_norm=False), layers=tuple(layers)).with_each_layer(
        qk_norm=False
    )
    assert said(mixed)["no_rope_layers"] == [1, 1, 0, 1, 1]


def test_windows_are_another_family_s_only_where_no_family_is_named():
    windows = SMALL.with_each_layer(qk_norm=False).with_layout("swa(3)")
    assert said(windows)["model_type"] == "smollm3"
    llama = dataclasses.replace(windows, family="llama")
    fields = said(llama)
    assert (fields["model_type"], fields[OWN]) == ("llama", {"layout": "swa(3)"})
    assert fields["architectures"] == ["LlamaForCausalLM"]


def test_a_layout_that_nothing_was_before_stands_beside_full_attention():
    made_so = dataclasses.replace(SMALL.with_layout("evict(knorm,budget=7)"), own_mixers=())
    fields = said(made_so)
    assert fields[OWN] == {"layout": "evict(knorm, budget=7)"} and set(fields["layer_types"]) == {"full_attention"}
    assert from_hf(fields).under_own_layout.layout_name == "full"


def test_the_share_of_a_head_is_not_rounded_to_a_frequency_less():
    for head_dim in (44, 90, 512):
        for turning in range(1, head_dim // 2 + 1):
            share = written_scaling(Proportional(turning), head_dim)["partial_rotary_factor"]
            assert share <= 1 and int(share * head_dim // 2) == turning


@pytest.mark.parametrize(
    "changes",
    [{"sink_logits": True}, {"value_norm": True}, {"attention_bias": "k"}, {"rope": Rope(1e4, Linear(2.0, 1.5))},
     {"softmax_scale": 0.3}, {"softmax_scale": 0.0}, {"softmax_scale": 1e-200}, {"stack": "mine"}],
)  # fmt: skip
def test_a_model_that_no_family_has_is_refused(changes):
    with pytest.raises(ValueError, match=r"^small: no config.json says this model; accepted: .* qwen3_moe, qwen3,"):
        written_config(SMALL.with_each_layer(**changes))
