"""Programs run where they are; this machine is no target, so that it stands in for one."""

from __future__ import annotations

import pytest

from attention.kernels.target import current_target
from eval.commands import lower
from eval.lowering.programs import KINDS, ModelProgram
from eval.lowering.run_here import is_here, time_here
from eval.lowering.target import TARGETS
from eval.measure.timing import Budget, Timing

QUICK = Budget(seconds=0.0, min_samples=2, max_samples=2, again_s=0)


@pytest.mark.slow
def test_every_kind_of_step_runs_and_is_timed(fast_compile) -> None:
    programs = [ModelProgram(kind, "tiny-dense", "swa(5)+full", 33) for kind in KINDS]
    timings = time_here(programs, QUICK)
    assert list(timings) == [program.title for program in programs]
    assert all(len(timing.samples_ms) == 2 and timing.median_ms > 0 for timing in timings.values())


def test_what_does_not_run_says_why_and_the_others_go_on(fast_compile) -> None:
    bad, good = (
        ModelProgram("prefill", "tiny-dense", "full", n, impl=impl) for n, impl in ((7, "pallas"), (11, "dense"))
    )
    timings = time_here([bad, good], QUICK)
    assert "pallas runs on GPUs" in timings[bad.title] and timings[good.title].samples_ms


@pytest.mark.skipif(current_target() in TARGETS, reason="this machine is one")
def test_this_machine_is_no_target() -> None:
    assert not any(is_here(target) for target in TARGETS.values())


def test_the_command_prints_and_records_them(capsys) -> None:
    timings = {"a": Timing((3.0, 1.0, 2.0), compile_ms=5.0), "b": "out of memory"}
    lower.print_measured(timings, "gfx1201")
    printed = capsys.readouterr().out
    assert "2.00 ms" in printed and "out of memory" in printed and "measured on this machine's gfx1201" in printed
