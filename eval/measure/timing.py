"""Wall time, taken so that it means something.

Dispatch is asynchronous, so every sample blocks on every output.  Lowering, compiling and running are timed apart.
Every sample is kept and counts; the median speaks for them, their spread says how far to trust it.  A program whose
samples spread by more than `MOST_SPREAD` is sampled again by itself, until they agree or `Budget.again_s` are over.
New samples join the others: to choose the calmest would be to choose among answers.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import jax

from eval.measure.interrupt import breathe
from refmodel.device_memory import free_device_bytes

MOST_SPREAD: Final = 0.25
"""Of samples that count, `spread_of`: above it they say more of the machine than of the program."""

MOST_AGAIN: Final = 2.0
"""Sampling again takes at most so many times what sampling took: what runs for milliseconds is not worth seconds."""


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
    """How long to sample: at least `min_samples`, then until `seconds` are spent or `max_samples` taken.

    Attributes:
        long_s: a first run longer than this counts as a sample: what warming up hides is lost in it.
        long_samples: enough of a program with such a first run; one is, for it is long against what disturbs it.
        again_s: at most, for sampling again what spreads by more than `MOST_SPREAD`, beside `MOST_AGAIN`; a run that
            has begun is waited for.
    """

    seconds: float = 2.0
    min_samples: int = 2
    max_samples: int = 15
    long_s: float = 2.0
    long_samples: int = 1
    again_s: float = 20.0

    @classmethod
    def of(cls, samples: int | None) -> Budget:
        """So many samples of each program, and more where they spread; None: the usual budget."""
        return cls() if samples is None else cls(min_samples=samples, max_samples=samples, long_samples=samples)


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


def _raise(_: str, error: Exception) -> None:
    raise error


def time_programs(
    programs: Mapping[str, Program],
    budget: Budget,
    on_run: Callable[[str], None] = lambda _: None,
    on_failure: Callable[[str, Exception], None] = _raise,
) -> dict[str, Timing]:
    """Timings of several programs, sampled in turns so that a drift of the machine meets them all alike.

    The first is the others' reference: where one sample was enough of it, it is sampled last once more, and the two
    tell for all in between how calm the machine was.  `on_run` is told which program has just run, `on_failure` which
    one died of what: where that does not raise, the program is left out from then on, and so is its timing.
    """
    start = time.perf_counter()
    samples: Samples = {name: [] for name in programs}

    def take(name: str) -> None:
        try:
            ms = programs[name].run_ms()
        except Exception as error:  # of any kind: it is the listener's to judge
            del samples[name]
            on_failure(name, error)
        else:
            samples[name].append(ms)
            on_run(name)

    for name in programs:
        take(name)
    warmups = {name: first for name, (first,) in samples.items()}
    counted = {name for name, ms in warmups.items() if ms > 1e3 * budget.long_s}
    for name in warmups.keys() - counted:
        samples[name].clear()
    _sample(samples, counted, budget, take)
    again_s = min(budget.again_s, MOST_AGAIN * (time.perf_counter() - start))
    _sample_again(samples, time.perf_counter() + again_s, take)
    return {
        name: Timing(
            tuple(taken), programs[name].lower_ms, programs[name].compile_ms,
            None if name in counted else warmups[name],
        )
        for name, taken in samples.items()
    }  # fmt: skip


Samples = dict[str, list[float]]
"""Milliseconds by program, the reference first; those that are taken are added, and what dies is taken out."""


def _sample(samples: Samples, counted: Collection[str], budget: Budget, take: Callable[[str], None]) -> None:
    """In turns, beside the first runs of those that are `counted`, until the budget is spent."""
    start = time.perf_counter() - 1e-3 * sum(map(sum, samples.values()))
    for turn in itertools.count(1):
        late = time.perf_counter() - start > budget.seconds
        usual = min(turn, budget.max_samples)
        wanting = [
            name
            for name, taken in samples.items()
            if len(taken) < ((budget.long_samples if name in counted else budget.min_samples) if late else usual)
        ]
        if not wanting and (late or turn > budget.max_samples):
            break
        for name in wanting:
            take(name)
    for reference in list(samples)[:1]:
        if len(samples[reference]) == 1 < budget.max_samples:
            take(reference)


def _sample_again(samples: Samples, until_s: float, take: Callable[[str], None]) -> None:
    """Each by itself what spreads, the least sampled first, until nothing does or the clock says `until_s`."""
    while (spreading := _spreading(samples)) and time.perf_counter() < until_s:
        take(min(spreading, key=lambda one: len(samples[one])))


def _spreading(samples: Mapping[str, Sequence[float]]) -> list[str]:
    """Programs whose samples spread by more than `MOST_SPREAD`; of a single sample the reference's tell."""
    reference = next(iter(samples.values()), [])
    return [name for name, taken in samples.items() if spread_of(taken if len(taken) > 1 else reference) > MOST_SPREAD]


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
