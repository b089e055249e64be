"""The atlas measured: each model built with random weights, timed, and its crossover of times found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.measure.comparison_run import ComparisonRequest, run_comparison
from eval.measure.records.schema import Record
from eval.report.comparison import Comparison
from eval.report.crossover_fit import Crossover
from eval.report.run_facts import crossovers
from refmodel.specification import ModelConfig


@dataclass(frozen=True)
class Measured:
    """A model's crossover by FLOPs and by time; `reason` says why there is no time, where there is none."""

    model: str
    counted_tokens: int | None
    timed: Crossover | None
    reason: str = ""

    @property
    def error(self) -> float | None:
        """By how much the crossover by FLOPs is off the measured one; None where one of them is not there."""
        if self.timed is None or self.timed.tokens is None or self.counted_tokens is None:
            return None
        return self.counted_tokens / self.timed.tokens - 1


def measured_place(
    model: ModelConfig, counted_tokens: int | None, folder: Path, lengths: Sequence[int] | None, *,
    device: str | None = None, dtype: Any = None, resume: bool = False,
    on_record: Callable[[Record], None] = lambda _: None,
) -> Measured:  # fmt: skip
    """Times a model that `refmodel.load` knows by its name, under its own layout; records go to `folder`.

    A model that does not run, or does not fit, is a `reason` and no error.
    """
    if model.cannot_run:
        return Measured(model.name, counted_tokens, None, model.cannot_run)
    request = ComparisonRequest(
        model=model.name, layouts=[model.layout_name], tokens=lengths, quality_tokens=0, device=device, dtype=dtype
    )
    try:
        found = run_comparison(
            request, folder, resume=resume, invocation=lambda _: f"prefillwall atlas --measure --models {model.name}",
            on_record=on_record,
        )  # fmt: skip
    except ValueError as error:
        return Measured(model.name, counted_tokens, None, str(error))
    (summary,) = Comparison(found.config, found.records, found.layouts).summaries
    timed, _ = crossovers(summary)
    (one,) = timed.values()
    return Measured(model.name, counted_tokens, one, one.reason)
