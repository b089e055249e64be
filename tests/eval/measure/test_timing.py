"""The clock's bookkeeping, on programs whose times are known."""

from __future__ import annotations

import itertools
import math

import jax.numpy as jnp
import pytest

from eval.measure import timing
from eval.measure.timing import Budget, Program, Timing, compile_program, spread_of, time_programs
from refmodel.device_memory import free_device_bytes


class Scripted(Program):
    """A program that claims the given times, notes when it ran, and moves the clock by them."""

    def __init__(self, times_ms, log, name, clock=None):
        super().__init__(None, (), 1.0, 2.0)
        object.__setattr__(self, "_script", (iter(times_ms), log, name, clock))

    def run_ms(self):
        times, log, name, clock = self._script
        log.append(name)
        ms = next(times)
        if clock is not None:
            clock.seconds += ms / 1e3
        return ms


class Clock:
    """Stands still but for what is run."""

    seconds = 100.0


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: made.seconds)
    return made


def test_the_warm_up_is_kept_apart_and_samples_alternate():
    log: list[str] = []
    programs = {name: Scripted(itertools.count(10), log, name) for name in "ab"}
    timings = time_programs(programs, Budget(seconds=60, min_samples=2, max_samples=3))
    assert log == list("abababab")
    assert timings["a"] == Timing((11, 12, 13), lower_ms=1.0, compile_ms=2.0, warmup_ms=10)


def test_a_long_first_run_counts():
    timing = time_programs({"a": Scripted([5000.0, 4000.0], [], "a")}, Budget(seconds=0, min_samples=2))["a"]
    assert timing.warmup_ms is None and timing.samples_ms == (5000, 4000)
    assert timing.median_ms == 4500


def test_a_spent_budget_still_gives_the_least_number_of_samples():
    timing = time_programs({"a": Scripted(itertools.count(100), [], "a")}, Budget(seconds=0, min_samples=4))["a"]
    assert len(timing.samples_ms) == 4


def test_a_real_program_is_compiled_run_and_measured():
    x = jnp.ones((257, 257))
    program = compile_program(jnp.dot, x, x)
    assert program.memory["output_bytes"] == 257 * 257 * 4
    timing = time_programs({"dot": program}, Budget(seconds=0, min_samples=2))["dot"]
    values = [timing.lower_ms, timing.compile_ms, timing.warmup_ms, *timing.samples_ms]
    assert all(value > 0 and math.isfinite(value) for value in values)


def test_a_program_without_room_is_refused_before_it_runs(monkeypatch):
    x = jnp.ones((257, 257))
    monkeypatch.setattr(timing, "free_device_bytes", lambda: 257 * 257 * 4 - 1)
    with pytest.raises(MemoryError, match=r"needs 0\.0 GB beside its arguments, the device has 0\.0 GB free"):
        compile_program(jnp.dot, x, x)
    monkeypatch.setattr(timing, "free_device_bytes", lambda: None)  # a system that does not tell
    assert compile_program(jnp.dot, x, x).run_ms() > 0


@pytest.mark.gpu
def test_a_gpu_is_asked_for_its_room():
    x = jnp.ones(math.isqrt(free_device_bytes() // 4) + 2**10)
    with pytest.raises(MemoryError, match="beside its arguments"):
        compile_program(jnp.outer, x, x)


def test_long_programs_run_once_but_the_reference_which_runs_first_and_last(clock):
    log: list[str] = []
    times = {"full": [5000.0, 5200], "a": [3000.0], "b": [2001.0], "short": [1999.0, 10, 11]}
    found = time_programs({name: Scripted(ms, log, name, clock) for name, ms in times.items()}, Budget())
    assert log == ["full", "a", "b", "short", "short", "short", "full"]
    assert {name: one.samples_ms for name, one in found.items()} == {
        "full": (5000, 5200), "a": (3000,), "b": (2001,), "short": (10, 11),
    }  # fmt: skip
    assert found["a"].warmup_ms is None and found["short"].warmup_ms == 1999


@pytest.mark.parametrize("samples", [1, 3])
def test_as_many_samples_as_were_asked_for_are_taken_of_long_programs_too(clock, samples):
    log: list[str] = []
    programs = {name: Scripted(itertools.repeat(5000.0), log, name, clock) for name in "ab"}
    time_programs(programs, Budget.of(samples))
    assert log == list("ab" * samples)


def test_what_spreads_is_sampled_again_by_itself_until_it_agrees_and_every_sample_counts(clock):
    """The middle half of 9, 1, 2, 3 spreads by more than its median; with three more of 3 it is calm."""
    log: list[str] = []
    restless = Scripted([9.0, 1, 2, 3, 9, 3, 3, 3, 3], log, "r", clock)
    calm = Scripted(itertools.count(100), log, "c", clock)
    found = time_programs({"c": calm, "r": restless}, Budget(seconds=0, min_samples=4))
    assert log == [*"cr" * 5, *"r" * 2]
    assert found["r"].samples_ms == (1, 2, 3, 9, 3, 3) and found["c"].samples_ms == (101, 102, 103, 104)


def test_several_that_spread_are_sampled_again_the_least_sampled_first(clock):
    log: list[str] = []
    programs = {name: Scripted(itertools.cycle([1.0, 2, 3, 4]), log, name, clock) for name in "ab"}
    time_programs(programs, Budget(seconds=0, min_samples=4, again_s=0.0095))
    assert log == [*"ab" * 5, *"abab"]  # 2 and 2, 3 and 3 ms


def test_where_the_reference_spreads_long_programs_of_one_sample_are_sampled_again_too(clock):
    log: list[str] = []
    programs = {
        "full": Scripted([4000.0, 8000, *itertools.repeat(4000.0, 9)], log, "full", clock),
        "a": Scripted(itertools.repeat(3000.0), log, "a", clock),
    }
    found = time_programs(programs, Budget())
    assert log[:4] == ["full", "a", "full", "a"] and found["a"].samples_ms == (3000, 3000)
    assert spread_of(found["full"].samples_ms) <= timing.MOST_SPREAD and set(log[4:]) == {"full"}


@pytest.mark.parametrize(("again_s", "samples"), [(0.0, 4), (0.0045, 7), (60.0, 14)])
def test_what_goes_on_spreading_is_sampled_for_so_long_and_no_longer_than_twice_the_first_time(clock, again_s, samples):
    """11 ms, the first run included, and then 1, 2, 3, 4, 1, ... ms at a time: 22 are over after ten."""
    always = Scripted(itertools.chain([1.0], itertools.cycle([1.0, 2, 3, 4])), [], "it", clock)
    budget = Budget(seconds=0, min_samples=4, again_s=again_s)
    assert len(time_programs({"it": always}, budget)["it"].samples_ms) == samples


@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
@pytest.mark.parametrize("name", "abc")
def test_what_dies_is_told_of_and_left_out_and_the_others_go_on_in_turns(clock, name, dies_at):
    """In its first run, a sample, or, of the reference, where it is run last once more."""
    log, told = [], {}

    def times(of):
        for run in itertools.count():
            if (of, run) == (name, dies_at):
                raise RuntimeError("dies")
            yield 100.0

    programs = {of: Scripted(times(of), log, of, clock) for of in "abc"}
    found = time_programs(programs, Budget(0, 2, 3), on_failure=lambda of, error: told.update({of: str(error)}))
    after = {of: one.samples_ms for of, one in found.items()}
    if dies_at == 3:  # two samples are enough
        assert not told and after == dict.fromkeys("abc", (100.0, 100.0))
        return
    assert told == {name: "dies"} and after == dict.fromkeys("abc".replace(name, ""), (100.0, 100.0))
    assert log == [of for run in range(3) for of in "abc" if of != name or run <= dies_at]
    with pytest.raises(RuntimeError, match="dies"):
        time_programs({name: Scripted(times(name), log, name, clock)}, Budget(0, 2, 3))


def test_of_programs_that_all_die_there_is_no_timing(clock):
    told: list[str] = []
    found = time_programs(
        {name: Scripted([5000.0] * (name == "a"), [], name, clock) for name in "ab"}, Budget(),
        on_failure=lambda name, _: told.append(name),
    )  # fmt: skip
    assert found == {} and told == ["b", "a"]


def test_who_asks_is_told_of_each_run(clock):
    told: list[str] = []
    programs = {name: Scripted(itertools.count(100), [], name, clock) for name in "ab"}
    time_programs(programs, Budget(seconds=0), told.append)
    assert told == list("ababab")


@pytest.mark.parametrize(
    ("samples_ms", "spread"), [((7,), 0), ((9, 11), 0.2), ((8, 10, 99), 9.1), ((10, 11, 12, 13, 99), 1 / 6)]
)
def test_spread_is_the_middle_half_over_the_median(samples_ms, spread):
    assert spread_of(samples_ms) == pytest.approx(spread)


def test_what_a_program_puts_out_is_looked_at():
    def refuse(outputs):
        raise FloatingPointError(f"{float(outputs.sum())}")

    x = jnp.ones((3, 3))
    with pytest.raises(FloatingPointError, match=r"27\.0"):
        time_programs({"dot": compile_program(jnp.dot, x, x, check=refuse)}, Budget(0, 1, 1))
