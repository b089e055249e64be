"""Programs of several layouts, compiled and timed in turns: what one dies of leaves the others their timings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from eval.measure.named_layout import NamedLayout
from eval.measure.records.schema import Findings, Status
from eval.measure.timing import Budget, Program, Timing, time_programs

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """Why nothing was found: the status of the record, and the error's type and first line."""

    status: Status
    error: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """In words alone: an error keeps alive what was in hand where it was raised."""
        first_line = next(iter(str(error).strip().splitlines()), "")
        out_of_memory = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
        return cls("out-of-memory" if out_of_memory else "failed", f"{type(error).__name__}: {first_line}")


def attempt(what: Callable[[], T]) -> T | Failure:
    """What came of it, or what it died of."""
    try:
        return what()
    except Exception as error:  # whatever one layout dies of, the others still count
        return Failure.of(error)


def compile_each(
    layouts: Sequence[NamedLayout], compiled: Callable[[NamedLayout], Program]
) -> dict[NamedLayout, Program | Failure]:
    """The program of each layout."""
    return {layout: attempt(partial(compiled, layout)) for layout in layouts}


def time_in_turns(
    tried: Mapping[NamedLayout, Program | Failure],
    found: Callable[[NamedLayout, Program, Timing], Findings],
    budget: Budget,
    on_run: Callable[[str], None] = lambda _: None,
) -> dict[NamedLayout, Findings | Failure]:
    """What was `found` of each layout's program, sampled in turns with the others (`time_programs`).

    One that failed to compile, fails in a run or where it is counted is a `Failure`, and the others go on.
    """
    programs = {layout.name: one for layout, one in tried.items() if isinstance(one, Program)}
    died: dict[str, Failure] = {}

    def on_failure(name: str, error: Exception) -> None:
        died[name] = Failure.of(error)

    timings = time_programs(programs, budget, on_run, on_failure)

    def outcome(layout: NamedLayout, program: Program | Failure) -> Findings | Failure:
        if isinstance(program, Failure):
            return program
        if layout.name in died:
            return died[layout.name]
        return attempt(partial(found, layout, program, timings[layout.name]))

    return {layout: outcome(layout, program) for layout, program in tried.items()}
