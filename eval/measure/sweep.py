"""The sweep: every cell of a plan, measured, recorded at once, resumed where it stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import jax

from attention.backends.registry import auto_goes_by_shape, counted_as
from eval.measure.cells import MEASURES, on_gpu
from eval.measure.layer_impls import layer_impls
from eval.measure.named_layout import NamedLayout
from eval.measure.plan import Cell, Sweep, plan
from eval.measure.records import file
from eval.measure.records.environment import environment, now
from eval.measure.records.schema import NO_IMPL, Findings, Record, RunInfo, Status, TextSource, cell_of


@contextlib.contextmanager
def records_file(
    sweep: Sweep, folder: Path, *, resume: bool = False, on_set_aside: Callable[[Path], None] = lambda _: None
) -> Iterator[Path]:
    """The file in `folder` that a run of `sweep` appends to, held for it alone.

    A new run sets an older file aside, `records.<time>.jsonl`, and tells `on_set_aside`; `resume` keeps it, and raises
    `ValueError` if its records were made with another model or on another machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file.FILE_NAME
    with file.only_writer(folder):
        if resume:
            file.refuse_others(path, run_of(sweep))
        elif path.exists():
            stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(path.stat().st_mtime))
            on_set_aside(path.rename(path.with_name(f"records.{stamp}.jsonl")))
        yield path


def run_sweep(
    sweep: Sweep,
    cells: Iterable[Cell],
    path: Path,
    *,
    invocation: str | None = None,
    on_start: Callable[[Cell], None] = lambda _: None,
    on_done: Callable[[Cell], None] = lambda _: None,
) -> Iterator[Record]:
    """Measures `cells`, as `missing_cells` gives them, and appends each record to `path`, yielding it.

    A cell that fails is recorded as failed and the sweep goes on.  Records name the command or call `invocation` that
    measured them, where it is known.  `on_start` and `on_done` are told of each cell.
    """
    run = run_of(sweep, invocation)
    sharing = _name_layouts(sweep, path)
    for cell in cells:
        on_start(cell)
        status, error, found = _guarded(cell, sweep)
        for layout in cell.layouts:
            findings = found.get(layout, Findings())
            if cell.kind == "linear":
                findings = replace(findings, layouts=sharing)
            record = Record(
                run=run, kind=cell.kind, layout=layout.name, tokens=cell.tokens, impl=_impl(sweep, cell, layout),
                asked=NO_IMPL if cell.kind == "linear" else sweep.impl, text=_text(sweep, cell), status=status,
                error=error, time=now(), **vars(findings),
            )  # fmt: skip
            file.append(path, record)
            yield record
        on_done(cell)


def _name_layouts(sweep: Sweep, path: Path) -> tuple[str, ...]:
    """All layouts that share the linear part: those that `path` names, and the sweep's.

    A layout that is timed in parts alone has no record of its own, and where a run before timed its parts nothing of it
    is missing: the linear part's records that are there name it from now on.
    """
    linear = [record for record in file.latest(file.read(path)) if record.kind == "linear"]
    earlier = [layout for record in linear for layout in record.layouts]
    layouts = tuple(dict.fromkeys([*earlier, *(layout.name for layout in sweep.layouts)]))
    for record in linear:
        if record.status == "ok" and set(layouts) - set(record.layouts):
            file.append(path, replace(record, layouts=layouts))
    return layouts


def missing_cells(sweep: Sweep, path: Path) -> list[Cell]:
    """What a sweep has to measure: its plan, less what `path` holds of a run that was stopped."""
    done = {record.cell for record in file.read(path) if record.status == "ok"}
    if not done:
        return plan(sweep)
    run = run_of(sweep)

    def is_missing(cell: Cell, layout: NamedLayout) -> bool:
        impl, text = _impl(sweep, cell, layout), _text(sweep, cell)
        return cell_of(run, cell.kind, layout.name, cell.tokens, impl, text) not in done

    lacking = (cell.only([layout for layout in cell.layouts if is_missing(cell, layout)]) for cell in plan(sweep))
    return [cell for cell in lacking if cell.layouts]


def _guarded(cell: Cell, sweep: Sweep) -> tuple[Status, str, dict[NamedLayout, Findings]]:
    """How a cell went, what was wrong, and what was found."""
    try:
        return "ok", "", MEASURES[cell.kind](sweep, cell.layouts, cell.tokens)
    except Exception as error:  # whatever one cell dies of, the others still count
        first_line = next(iter(str(error).strip().splitlines()), "")
        out_of_memory = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
        return "out-of-memory" if out_of_memory else "failed", f"{type(error).__name__}: {first_line}", {}


def run_of(sweep: Sweep, invocation: str | None = None) -> RunInfo:
    """What every record of a sweep says of the model and the machine."""
    config, device = sweep.model.config, jax.default_backend()
    return RunInfo(config.name, sweep.model.weights, device, sweep.dtype.name, environment(), invocation)


def _text(sweep: Sweep, cell: Cell) -> TextSource | None:
    return TextSource(sweep.text.name, sweep.text.sha256) if cell.kind == "quality" else None


def _impl(sweep: Sweep, cell: Cell, layout: NamedLayout) -> str:
    """The attention implementations that run in a cell, `NO_IMPL` for none."""
    if cell.kind == "linear":
        return NO_IMPL
    if not on_gpu() and (sweep.impl != "auto" or auto_goes_by_shape()):
        return counted_as(sweep.impl, cell.tokens, cell.tokens).name
    try:
        found = (layer_impls(sweep.model.config, v, cell.tokens, sweep.dtype, sweep.impl) for v in layout.counts)
        return "+".join(dict.fromkeys(impl for impls in found for impl in impls))
    except Exception:  # the cell itself will say what is wrong
        return sweep.impl
