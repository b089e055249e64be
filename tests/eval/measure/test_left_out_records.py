"""Kept records, predicted from one another."""

from __future__ import annotations

import dataclasses
import math
import statistics
from pathlib import Path

import numpy as np
import pytest

from attention.full import Full
from eval.cost.cards import card
from eval.cost.efficiency.interval import NORMAL
from eval.cost.flops.closed_form import prefill_flops
from eval.measure import left_out_records
from eval.measure.left_out_records import EFFECTS, SCHEMES, Prefill, left_out, of_another_model, prefills
from eval.measure.records import file
from refmodel.presets import preset

RESULTS = Path(__file__).parents[3] / "eval" / "results"
CONFIG = preset("qwen3-30b-a3b")


@pytest.fixture(scope="module")
def kept() -> list[Prefill]:
    return prefills(file.read_comparison(RESULTS / "h100-qwen3-30b-a3b")[1], CONFIG)


def test_lengths_and_layouts_that_were_left_out_are_predicted(kept: list[Prefill]) -> None:
    made = left_out(kept)
    assert {one.scheme for one in made} == set(SCHEMES) - {"model"} and sum(
        one.scheme == "record" for one in made
    ) == len(kept)
    for scheme, most in (("record", 0.02), ("length", 0.02), ("long records of a layout", 0.03), ("layout", 0.07)):
        errors = [abs(one.error) for one in made if one.scheme == scheme]
        assert statistics.median(errors) < most, scheme
    covered = statistics.fmean(one.low <= one.prefill.ms <= one.high for one in made)
    assert 0.8 < covered < 0.96


ATLAS = sorted(folder.name for folder in (RESULTS / "h200-atlas").iterdir())


@pytest.fixture(scope="module")
def of_models(kept: list[Prefill]) -> list[Prefill]:
    """Of one model on an H100 and of seven on an H200."""
    records = {name: file.read_comparison(RESULTS / "h200-atlas" / name)[1] for name in ATLAS}
    return kept + [row for name, some in records.items() for row in prefills(some, preset(name))]


def test_a_model_is_predicted_from_all_others(of_models: list[Prefill]) -> None:
    made = [one for one in left_out(of_models) if one.scheme == "model"]
    assert {one.prefill.model for one in made} == {CONFIG.name, *ATLAS} and len(made) == len(of_models)
    errors = [abs(one.error) for one in made if one.known]
    assert len(errors) > 20 and statistics.median(errors) < 0.12
    assert statistics.fmean(one.low <= one.prefill.ms <= one.high for one in made) > 0.85


def test_what_is_all_of_a_model_is_left_out_as_a_model_alone(of_models: list[Prefill]) -> None:
    made = left_out([row for row in of_models if row.model in ("llama3-8b", "gpt-oss-20b")])
    layouts = {scheme: {(one.prefill.model, one.prefill.layout) for one in made if one.scheme == scheme}
               for scheme in SCHEMES}  # fmt: skip
    two, one = {("gpt-oss-20b", "full"), ("gpt-oss-20b", "swa(128)+full")}, {("llama3-8b", "full")}
    assert layouts["layout"] == two and layouts["model"] == layouts["length"] == layouts["record"] == two | one


def test_intervals_of_another_model_are_those_of_models_that_were_left_out(of_models, monkeypatch) -> None:
    """Calibrated on how many deviations off those are, all of them."""
    arguments = (of_models, preset("qwen3-8b"), "full", (4096, 65_536), card("h200"))
    monkeypatch.setattr(left_out_records, "half_width", lambda z: 1.0)
    z = [abs(math.log1p(one.error)) / math.log(one.high / one.ms)
         for one in left_out(of_models) if one.scheme == "model"]  # fmt: skip
    by_one = of_another_model(*arguments)
    monkeypatch.setattr(left_out_records, "half_width", lambda z: float(np.sum(z**2)))
    for one, unit in zip(of_another_model(*arguments), by_one, strict=True):
        widths = math.log(one.high / one.ms) / math.log(unit.high / unit.ms)
        assert one.ms == unit.ms and widths == pytest.approx(np.sum(np.square(z)))


def test_how_far_models_differ_is_what_predicts_a_model_best(of_models: list[Prefill], monkeypatch) -> None:
    """Half a decade more or less, of the linear layers or of full attention, is worse over all that is left out."""

    def score() -> float:
        z = [(math.log(one.ms / one.prefill.ms) * 2 * NORMAL / width, width / 2 / NORMAL)
             for one in left_out(of_models) if (width := math.log(one.high / one.low))]  # fmt: skip
        return statistics.fmean(2.5 * math.log1p(off**2 / 4) + math.log(sd) for off, sd in z)

    best = score()
    for term, scales in ((0, (0.1, 1.0)), (1, (0.03, 0.3))):
        for scale in scales:
            moved = list(EFFECTS)
            (everyone, model, slope), moved[term] = EFFECTS[term], ()
            moved[term] = (everyone, dataclasses.replace(model, scale=scale), slope)
            with monkeypatch.context() as patch:
                patch.setattr(left_out_records, "EFFECTS", tuple(moved))
                assert score() > best, (term, scale)


def test_attention_of_a_hybrid_is_all_full_however_its_layout_is_spelled() -> None:
    """30 layers of a state and 10 of full attention: 4 · 256 · 16 FLOPs a pair in each of those."""
    config, on, n = preset("qwen3.5-35b-a3b"), card("h200"), 4096
    (short, whole) = (left_out_records._terms_s(config, layout, n, on) for layout in ("full", "3*delta+full"))
    pairs = 10 * 16 * n * (n + 1) // 2
    assert short == whole and whole[1:3] == (pytest.approx(4 * 256 * pairs / on.peak_flops_per_s("bf16")), 0)


def test_the_work_of_attention_is_told_by_mixer(kept: list[Prefill]) -> None:
    peak, attends = card("h100-sxm").peak_flops_per_s("bf16"), ("attention", "selection")
    for one in kept:
        mixers = CONFIG.with_layout(one.layout).layout
        full, all_full = (sum(isinstance(mixer, Full) for mixer in some) for some in (mixers, CONFIG.layout))
        of_full = prefill_flops(CONFIG, one.tokens)["attention"] * full / all_full / peak
        flops = prefill_flops(CONFIG.with_layout(one.layout), one.tokens)
        assert one.terms_s[1] == pytest.approx(of_full) and (one.terms_s[2] > 0) == (full < len(mixers))
        assert sum(one.terms_s[1:3]) * peak == pytest.approx(sum(flops.get(name, 0) for name in attends))


def test_what_is_left_out_is_not_read(kept: list[Prefill]) -> None:
    changed = [dataclasses.replace(one, ms=one.ms * (1.01 if one.tokens == 8192 else 1.0)) for one in kept]
    pairs = zip(left_out(kept), left_out(changed), strict=True)
    lengths = [(a, b) for a, b in pairs if a.scheme == "length" and a.prefill.tokens == 8192]
    assert len(lengths) > 3 and all(a.ms == pytest.approx(b.ms, rel=1e-3) for a, b in lengths)


def test_times_that_obey_the_form_are_found(kept: list[Prefill]) -> None:
    exact = [dataclasses.replace(one, ms=1e3 * sum(k * s for k, s in zip((3, 2, 4, 1), one.terms_s, strict=True)))
             for one in kept]  # fmt: skip
    errors = [abs(one.error) for one in left_out(exact) if one.scheme in ("record", "length")]
    assert statistics.median(errors) < 0.005


def test_another_model_takes_its_own_work(kept: list[Prefill]) -> None:
    lengths = (4096, 65_536)
    same, small = (of_another_model(kept, preset(name), "full", lengths, card("h100-sxm"))
                   for name in ("qwen3-30b-a3b", "qwen3-8b"))  # fmt: skip
    measured = {one.tokens: one.ms for one in kept if one.layout == "full"}
    for one in same:
        assert one.ms == pytest.approx(measured[one.prefill.tokens], rel=0.05)
    for one, other in zip(small, same, strict=True):
        assert one.low < one.ms < one.high and one.high / one.low > other.high / other.low
    assert small[0].ms > same[0].ms  # three times the linear work, dense
    assert small[1].ms < 2.5 * same[1].ms  # 36 layers of the same attention beside 48


def test_records_of_a_card_that_is_not_known_are_refused() -> None:
    records = file.read_comparison(RESULTS / "h100-qwen3-30b-a3b")[1]
    environment = dataclasses.replace(records[0].run.environment, device_kind="an abacus")
    run = dataclasses.replace(records[0].run, environment=environment)
    with pytest.raises(ValueError, match="no card is known for an abacus"):
        prefills([dataclasses.replace(one, run=run) for one in records], CONFIG)


def test_packed_weights_are_read_as_they_were_held() -> None:
    records = file.read_comparison(RESULTS / "h100-qwen3-30b-a3b")[1]
    packed = [dataclasses.replace(one, run=dataclasses.replace(one.run, weight_bits=4.5)) for one in records]
    plain, fewer = prefills(records, CONFIG), prefills(packed, CONFIG)
    *work_s, weights_s = plain[0].terms_s
    assert weights_s == 2 * CONFIG.params / card("h100-sxm").bandwidth_bytes_per_s
    assert fewer[0].terms_s == (*work_s, pytest.approx(weights_s * 4.5 / 16))
