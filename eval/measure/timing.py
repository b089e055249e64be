"""Wall time, taken so that it means something.

Dispatch is asynchronous, so every sample blocks on every output.  Lowering, compiling and running are timed apart.
Every sample is kept and counts; the median speaks for them, their spread says how far to trust it.  Where a program's
spread by more than `MOST_SPREAD`, all programs are sampled once more, in `Budget.rounds` rounds at the most: to choose
the calmest would be to choose among answers.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jax

from eval.measure.interrupt import breathe
from refmodel.device_memory import free_device_bytes

MOST_SPREAD: Final = 0.25
"""Of samples that count, `spread_of`: above it they say more of the machine than of the program."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a program: every sample, and what getting there took, as far as it was timed.

    `warmup_ms` is None where the first run counts as a sample.
    """

    samples_ms: tuple[float, ...]
    lower_ms: float | None = None
    compile_ms: float | None = None
    warmup_ms: float | None = None

    @property
    def median_ms(self) -> float:
        """The figure that speaks for it."""
        return statistics.median(self.samples_ms)


@dataclass(frozen=True)
class Budget:
    """How long to sample in a round: at least `min_samples`, then until `seconds` are spent or `max_samples` taken."""

    seconds: float = 2.0
    min_samples: int = 2
    max_samples: int = 15
    warm_after_s: float = 3.0
    """A first run longer than this counts as a sample: what warming up hides is lost in it."""
    rounds: int = 3
    """At most, as long as a program's samples spread by more than `MOST_SPREAD`."""


@dataclass(frozen=True)
class Program:
    """A compiled program with its arguments, and what it took to get it.

    `check` is given what every run puts out, after its time was taken, and raises where that is no result.
    """

    compiled: Any
    arguments: tuple[Any, ...]
    lower_ms: float
    compile_ms: float
    memory: Mapping[str, int] = field(default_factory=dict)
    check: Callable[[Any], None] = lambda _: None

    def run_ms(self) -> float:
        """One run, start to all outputs."""
        breathe()
        start = time.perf_counter()
        outputs = jax.block_until_ready(self.compiled(*self.arguments))
        ms = 1e3 * (time.perf_counter() - start)
        self.check(outputs)
        return ms


def compile_program(
    function: Callable[..., Any], *arguments: Any, check: Callable[[Any], None] = lambda _: None
) -> Program:
    """Lowers and compiles `function` for `arguments` (arrays, on the device where it shall run).

    Raises `MemoryError` if the first device says that it has no room for it.  Seen only in a run, that costs more than
    the run: on a CPU the system kills the process, and on a GPU what XLA had allocated for the program before it failed
    stays allocated.
    """
    breathe()
    start = time.perf_counter()
    lowered = jax.jit(function).lower(*arguments)
    lowered_at = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    memory = _memory(compiled)
    _refuse_what_does_not_fit(memory)
    return Program(compiled, arguments, 1e3 * (lowered_at - start), 1e3 * (done - lowered_at), memory, check)


def time_programs(
    programs: Mapping[str, Program], budget: Budget, on_run: Callable[[], None] = lambda: None
) -> dict[str, Timing]:
    """Timings of several programs, sampled in turns so that a drift of the machine meets them all alike."""
    warmups = {name: program.run_ms() for name, program in programs.items()}
    counted = {name for name, ms in warmups.items() if ms > 1e3 * budget.warm_after_s}
    taken = {name: (ms,) if name in counted else () for name, ms in warmups.items()}
    samples = _sampled(programs, budget, on_run, taken)
    for _ in range(budget.rounds - 1):
        if all(spread_of(one) <= MOST_SPREAD for one in samples.values()):
            break
        again = _sampled(programs, budget, on_run, dict.fromkeys(programs, ()))
        samples = {name: (*one, *again[name]) for name, one in samples.items()}
    return {
        name: Timing(samples[name], program.lower_ms, program.compile_ms, None if name in counted else warmups[name])
        for name, program in programs.items()
    }


def _sampled(
    programs: Mapping[str, Program], budget: Budget, on_run: Callable[[], None], taken: Mapping[str, Sequence[float]]
) -> dict[str, tuple[float, ...]]:
    """A round of samples of each program, of which some may be `taken` already."""
    samples = {name: list(taken[name]) for name in programs}
    start = time.perf_counter()
    for turn in itertools.count(1):
        late = time.perf_counter() - start > budget.seconds
        wanted = budget.min_samples if late else min(turn, budget.max_samples)
        wanting = [name for name in programs if len(samples[name]) < wanted]
        if not wanting and (late or turn > budget.max_samples):
            break
        for name in wanting:
            samples[name].append(programs[name].run_ms())
            on_run()
    return {name: tuple(one) for name, one in samples.items()}


def spread_of(samples_ms: Sequence[float]) -> float:
    """The middle half of the samples over their median; of fewer than four samples all of them.

    Examples:
        >>> spread_of([10.0, 11.0, 12.0, 13.0, 99.0]), spread_of([9.0, 11.0]), spread_of([7.0])
        (0.16666666666666666, 0.2, 0.0)
    """
    low, median, high = (
        statistics.quantiles(samples_ms, n=4, method="inclusive")
        if len(samples_ms) > 3
        else (min(samples_ms), statistics.median(samples_ms), max(samples_ms))
    )
    return (high - low) / median if median else 0.0


class PeakMemory:
    """Peak resident bytes of this process from construction on, where the system tells (Linux)."""

    _STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def __init__(self) -> None:
        try:
            self._RESET.write_text("5")  # resets the high-water mark, see proc(5)
            self._known = True
        except OSError:
            self._known = False

    def peak_bytes(self) -> int | None:
        if not self._known:
            return None
        line = next(line for line in self._STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])


def _memory(compiled: Any) -> dict[str, int]:
    """What the compiler planned; exact, and known before anything runs."""
    plan = compiled.memory_analysis()
    if plan is None:
        return {}
    return {
        "argument_bytes": plan.argument_size_in_bytes,
        "temp_bytes": plan.temp_size_in_bytes,
        "output_bytes": plan.output_size_in_bytes,
    }


def _refuse_what_does_not_fit(memory: Mapping[str, int]) -> None:
    needed, free = memory.get("temp_bytes", 0) + memory.get("output_bytes", 0), free_device_bytes()
    if free is not None and needed > free:
        raise MemoryError(
            f"the program needs {needed / 1e9:.1f} GB beside its arguments, the device has {free / 1e9:.1f} GB free; "
            "shorter prompts and fewer bits need less"
        )
