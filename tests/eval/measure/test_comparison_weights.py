"""How weights are held is said where a model is loaded, and in its records."""

from __future__ import annotations

import pytest

import eval
import refmodel
from eval.report.run_facts import run_facts

pytestmark = pytest.mark.usefixtures("fast_compile")


def test_a_model_at_hand_has_its_weights():
    with pytest.raises(ValueError, match=r"load it with weights='int8'"):
        eval.compare(refmodel.load("tiny-dense"), ["swa(5)"], tokens=[16], weights="int8")


def test_records_say_how_weights_were_held():
    found = eval.compare("tiny-dense", ["swa(5)"], tokens=[16], weights="int8(16)")
    runs = {record.run for record in found.records}
    assert {run.weights for run in runs} == {"random (seed 0), int8(16)"}
    held = refmodel.load("tiny-dense", weights="int8(16)").held
    assert {(run.weight_bits, run.weight_bytes) for run in runs} == {(held.bits_per_weight, held.n_bytes)}
    (plain,) = {record.run.params_digest for record in eval.compare("tiny-dense", ["swa(5)"], tokens=[16]).records}
    assert plain not in {run.params_digest for run in runs}


@pytest.mark.slow
def test_layers_apart_are_packed_too():
    found = eval.compare("tiny-dense", ["swa(5)"], tokens=[16], weights="int8(16)", layers_apart=True)
    assert {record.run.weights for record in found.records} == {"random (seed 0), int8(16)"}
    with pytest.raises(ValueError, match="layers apart have random weights, none of which is kept"):
        eval.compare("tiny-dense", ["swa(5)"], tokens=[16], weights="kept", layers_apart=True)
    assert {record.run.weight_bytes for record in found.records} == {None}
    with pytest.raises(ValueError, match=r"layers apart draw weights of their own: name a format .*fp8"):
        eval.compare(refmodel.load("tiny-dense", weights="fp8"), ["swa(5)"], tokens=[16], layers_apart=True)


@pytest.mark.slow
def test_a_page_names_the_weights_of_what_read_them(tmp_path):
    """One layer's attention reads none, so that its records stay where weights change."""
    for weights in ("fp8", "int8(16)"):
        found = eval.compare("tiny-dense", ["swa(5)"], tokens=[16], weights=weights, out=tmp_path, resume=True)
    (facts,) = run_facts(found.records, found.config)
    assert "random (seed 0), int8(16) weights" in facts["model"] and "fp8" not in facts["model"]
