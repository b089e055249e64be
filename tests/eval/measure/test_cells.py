"""What a cell makes of its samples."""

from __future__ import annotations

from eval.measure.cells import _of_one_call
from eval.measure.timing import Timing


def test_a_sample_of_several_calls_is_the_time_of_one():
    timing = Timing((10.0, 20.0), lower_ms=3.0, compile_ms=7.0, warmup_ms=11.0)
    assert _of_one_call(timing, 5) == Timing((2.0, 4.0), lower_ms=3.0, compile_ms=7.0, warmup_ms=11.0)
