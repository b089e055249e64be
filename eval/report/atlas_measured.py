"""The atlas measured: each model built with random weights, timed, and its crossover of times found."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attention.full import FULL
from eval.measure.comparison_run import ComparisonRequest, run_comparison
from eval.measure.named_layout import NamedLayout
from eval.measure.records.schema import Record
from eval.measure.timing import Budget
from eval.report.comparison import Comparison
from eval.report.crossover_fit import Crossover
from eval.report.run_facts import crossovers
from refmodel.presets import PRESETS
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
    device: str | None = None, dtype: Any = None, samples: int | None = None, resume: bool = False,
    on_record: Callable[[Record], None] = lambda _: None,
) -> Measured:  # fmt: skip
    """Times a preset with random weights under its own layout, beside full attention; records go to `folder`.

    A model that is no preset, does not run, or does not fit, is a `reason` and no error.
    """
    if model.cannot_run:
        return Measured(model.name, counted_tokens, None, model.cannot_run)
    if PRESETS.get(model.name) != model:
        return Measured(model.name, counted_tokens, None, "measured by `prefillwall compare --model`: it is no preset")
    own = FULL if model.with_layout(FULL) == model else model.layout_name
    request = ComparisonRequest(
        model=model.name, layouts=[own], tokens=lengths, quality_tokens=0, device=device, dtype=dtype,
        budget=Budget.of(samples),
    )  # fmt: skip
    words = ["prefillwall", "atlas", "--measure", "--models", model.name]
    words += ["--tokens", *map(str, lengths)] if lengths else []
    for option, given in (("--device", device), ("--dtype", dtype), ("--samples", samples)):
        words += [option, str(given)] if given else []
    try:
        found = run_comparison(
            request, folder, resume=resume, invocation=lambda _: shlex.join(words), on_record=on_record
        )
    except ValueError as error:
        return Measured(model.name, counted_tokens, None, str(error))
    (summary,) = Comparison(found.config, found.records, found.layouts).summaries
    timed = crossovers(summary)[0][NamedLayout.of(own, model).name]
    return Measured(model.name, counted_tokens, timed, timed.reason)
