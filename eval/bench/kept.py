"""What the GPU benchmarks keep, as far as tables are made of it: lines of other kinds than a comparison's records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from eval.measure.records import json_lines
from eval.measure.records.decode import read_fields
from eval.measure.timing import Timing

T = TypeVar("T")


@dataclass(frozen=True)
class KernelRun:
    """One contender at one case of `eval.bench.gpu_kernels`; `time` says of which run."""

    case: str
    rows: int
    contender: str
    status: str
    time: str
    device_kind: str
    jax: str
    git_commit: str | None
    tflops: float = 0.0
    samples_ms: tuple[float, ...] = ()
    weights_read_ms: tuple[float, ...] = ()
    relative_error: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class ModelRun:
    """One contender's whole prefill in `eval.bench.transformers_gpu`."""

    contender: str
    layout: str
    tokens: int
    status: str
    device_kind: str
    timing: Timing | None = None
    transformers_version: str | None = None


@dataclass(frozen=True)
class StepRun:
    """One case of `eval.bench.decode`: `step_bytes` is what a step has to move, None where that is not known."""

    model: str
    layout: str
    batch: int
    context_tokens: int
    samples_ms: tuple[float, ...]
    step_bytes: int | None
    dtype: str
    device_kind: str
    jax: str
    git_commit: str | None


def read_kept(kind: type[T], path: Path) -> list[T]:
    """All lines of a file; what else they hold is left out.  Raises `ValueError` that names file, line and field."""
    found = []
    for number, line in json_lines.read(path):
        try:
            found.append(kept(kind, line))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
    return found


def kept(kind: type[T], line: Mapping[str, Any]) -> T:
    """One line."""
    # That the type is a dataclass cannot be said in its bound.
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return read_fields(kind, {name: value for name, value in line.items() if name in names})
