"""The key of config.json that is this project's own: honoured or refused, never left aside."""

from __future__ import annotations

import json

import pytest

import refmodel
from refmodel.checkpoint.find import open_config
from refmodel.read_hf_config import from_hf
from tests.refmodel.checkpoint.written_folder import LLAMA, write_folder

HINT = "a variant of your own has to be known before: --plugin FILE, or attention.register"


def with_key(part, **outside):
    return from_hf(LLAMA | outside | {"prefillwall": part})


def test_the_layout_is_the_model_s_and_its_files_own_is_kept():
    config = with_key({"layout": "2*swa(5)+full"})
    assert (config.layout_name, config.under_own_layout) == ("2*swa(5)+full", from_hf(LLAMA))
    assert config.family == "llama"
    assert config.with_layout("swa(3)").under_own_layout == from_hf(LLAMA)


def test_layers_of_other_parameters_stand_beside_the_family_s_name():
    config = with_key({"layout": "delta(1,2,4,6)+full", "model_type": "llama"}, model_type="prefillwall")
    assert (config.stacks, config.family) == (("delta_dense", "dense", "delta_dense"), "llama")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"layout": "wedge(3)"}, rf"layout: no attention variant 'wedge'; accepted: .*; {HINT}$"),
        ({"layout": "swa(0)"}, "layout: .*window.*"),
        ({"layout": "~/mine.json"}, "layout names a file; accepted: the layout itself$"),
        ({"layout": "full", "policy": 3}, "prefillwall holds policy; accepted: layout, model_type$"),
        ({"layout": ["full"]}, "layout must be of type str"),
        ({}, "layout is missing"),
        ("full", "prefillwall must be of type dict"),
    ],
)
def test_what_is_not_known_there_is_refused(part, said):
    with pytest.raises(ValueError, match=f"^config: .*{said}") as caught:
        with_key(part)
    assert "\n" not in str(caught.value)


def test_a_folder_of_a_variant_that_is_not_known_is_refused_for_costs_too(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"prefillwall": {"layout": "wedge(3)"}}))
    with pytest.raises(ValueError, match=rf"config.json: prefillwall: layout: no attention variant .*{HINT}$"):
        open_config(str(tmp_path))


def test_a_layout_whose_parameters_are_not_there_is_refused(tmp_path):
    write_folder(tmp_path, LLAMA)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"prefillwall": {"layout": "routed(5|full)"}}))
    with pytest.raises(ValueError, match=r"lacks tensor prefillwall\.layers\.0\.attn\.\w+ and 2 more$"):
        refmodel.load(str(tmp_path))


def test_the_key_s_name_alone_is_no_family():
    with pytest.raises(ValueError, match=r"^config: prefillwall is missing$"):
        from_hf(LLAMA | {"model_type": "prefillwall"})
