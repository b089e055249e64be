"""What a cell makes of its samples, and of a backend that tells nothing."""

from __future__ import annotations

import dataclasses

import refmodel
from attention.layout import parse_variant
from eval.measure.cells import _executed_flops, _executed_from, _flops, _of_one_call
from eval.measure.default_sweep import usual_sweep
from eval.measure.records.schema import UNTOLD
from eval.measure.timing import Timing


def test_a_sample_of_several_calls_is_the_time_of_one():
    timing = Timing((10.0, 20.0), lower_ms=3.0, compile_ms=7.0, warmup_ms=11.0)
    assert _of_one_call(timing, 5) == Timing((2.0, 4.0), lower_ms=3.0, compile_ms=7.0, warmup_ms=11.0)


def test_what_a_backend_executes_that_does_not_tell_is_the_useful_count_and_said():
    sweep = usual_sweep(refmodel.load("tiny-dense"), ["swa(29)"], [331])
    layout = sweep.layouts[1]
    asked = {impl: dataclasses.replace(sweep, impl=impl) for impl in ("blockwise", "tokamax")}
    assert {impl: _executed_from(one, layout, 331) for impl, one in asked.items()} == {
        "blockwise": {}, "tokamax": {"tokamax": UNTOLD},
    }  # fmt: skip
    for impl, one in asked.items():
        whole = _flops(one, one.model.config.with_layout("swa(29)"), 331)
        assert (whole.executed == whole.useful) is (impl == "tokamax")
    walked, repeated = (_executed_flops(one, parse_variant("swa(29)"), 331) for one in asked.values())
    assert repeated == 4 * 16 * 6 * (29 * 30 // 2 + 29 * (331 - 29)) < walked
