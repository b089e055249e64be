"""What a cell makes of its samples, and of a backend that tells nothing."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import pytest

import refmodel
from attention.layout import parse_variant
from eval.measure import cells
from eval.measure.cells import (
    _executed_flops,
    _executed_from,
    _flops,
    _of_one_call,
    measure_attention,
    measure_prefill,
    measure_quality,
)
from eval.measure.default_sweep import usual_sweep
from eval.measure.records.schema import UNTOLD
from eval.measure.timing import Budget, Program, Timing
from eval.quality.divergence import compare_tokens, final_hidden, per_token, summarise


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


def test_whole_prefills_are_run_in_turns_and_each_has_the_peak_of_its_own_runs(monkeypatch, fast_compile):
    class Watermark:
        """5, 7, 3 and 9 bytes are seen while full, window, full, window run."""

        def __init__(self):
            self.seen, self.resets = iter((5, 7, 3, 9)), 0
            made.append(self)

        def peak_bytes(self):
            return next(self.seen)

        def reset(self):
            self.resets += 1

    made: list[Watermark] = []
    monkeypatch.setattr(cells, "PeakMemory", Watermark)
    sweep = usual_sweep(refmodel.load("tiny-dense"), ["swa(5)"], [17], budget=Budget(0, 1, 1))
    found = measure_prefill(sweep, sweep.whole, 17)
    assert {str(layout): one.memory.rss_peak_bytes for layout, one in found.items()} == {"full": 5, "swa(5)": 9}
    assert [one.resets for one in made] == [4]
    full, window = (found[layout].flops.useful["attention"] for layout in sweep.whole)
    assert full > window and all(len(one.timing.samples_ms) == 1 for one in found.values())


@pytest.mark.parametrize(
    ("budget", "samples"),
    [
        (Budget.of(1), 1),
        (Budget.of(3), 3),
        (Budget.of(7), 7),
        (Budget(0), 5),
        (Budget(0, 2, 3), 3),
        (Budget(0, 7, 9), 7),
    ],
)
@pytest.mark.parametrize("first_s", [0.001, 3.0])
def test_attention_kernels_are_sampled_as_often_as_was_asked_and_five_times_otherwise(
    monkeypatch, fast_compile, budget, samples, first_s
):
    class Calm(Program):
        def run_ms(self):
            return 1e3 * first_s

    monkeypatch.setattr(cells, "compile_program", lambda *_, **__: Calm(None, (), 1.0, 2.0))
    sweep = usual_sweep(refmodel.load("tiny-dense"), ["swa(5)"], [17], budget=dataclasses.replace(budget, seconds=0))
    found = measure_attention(sweep, sweep.single_layers, 17)
    assert {len(one.timing.samples_ms) for one in found.values()} == {samples}


def test_the_head_is_compiled_for_all_layouts_at_once_and_gives_what_each_one_s_would(fast_compile):
    sweep = usual_sweep(refmodel.load("tiny-dense"), ["full", "swa(5)", "routed(3|full)"], [31], quality_tokens=31)
    before = compare_tokens._cache_size()
    found = measure_quality(sweep, sweep.layouts, 31)
    assert compare_tokens._cache_size() == before + 1
    tokens_t = jnp.asarray(sweep.text.tokens[:31])
    hidden = {one: sweep.model.with_layout(one.variants) for one in sweep.layouts}
    reference_td, *others = (final_hidden(model.config, model.params, tokens_t) for model in hidden.values())
    for (layout, model), variant_td in zip(hidden.items(), (reference_td, *others), strict=True):
        own = per_token(model.config, model.params, tokens_t, reference_td, variant_td)
        assert found[layout].quality == summarise(own)
