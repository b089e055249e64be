"""The sweep: every cell of a plan, measured, recorded when it is done, resumed with the first that is not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax

from attention.backends.registry import auto_goes_by_shape, counted_as
from eval.measure.again import cells_again
from eval.measure.cells import MEASURES, on_gpu
from eval.measure.in_turns import Failure, attempt
from eval.measure.interrupt import breathe
from eval.measure.layer_impls import layer_impls
from eval.measure.named_layout import NamedLayout
from eval.measure.plan import Cell, Sweep, plan
from eval.measure.records import file
from eval.measure.records.environment import environment, now
from eval.measure.records.identity import code_digest, config_digest, layout_digest, tokens_digest
from eval.measure.records.schema import NO_IMPL, Findings, Record, RunInfo, TextSource, cell_of
from eval.measure.records.schema import Cell as RecordCell
from eval.measure.resume import foreign_records, layout_names

OnForeign = Callable[[Path, int, Sequence[str]], None]
"""Told of the file that was set aside, of how many of its records are another run's, and of what differs."""


@contextlib.contextmanager
def records_file(
    sweep: Sweep,
    folder: Path,
    run: RunInfo,
    *,
    resume: bool = False,
    on_set_aside: Callable[[Path], None] = lambda _: None,
    on_foreign: OnForeign = lambda *_: None,
) -> Iterator[Path]:
    """The file in `folder` that a run of `sweep` appends to, held for it alone.

    A new run sets an older file aside, `records.<time>.jsonl`, and tells `on_set_aside`.  `resume` goes on with those
    of its records that are of the same parameters, token ids, variants and code; where there are others it sets the
    whole file aside, goes on with a copy of these, and tells `on_foreign`.  It raises `ValueError` if the records were
    made with a model of another name, in another dtype, or on another machine.
    """
    with file.only_writer(folder):
        path = folder / file.FILE_NAME
        if resume:
            _keep_own(sweep, run, path, on_foreign)
        elif path.exists():
            on_set_aside(file.set_aside(path))
        yield path


def _keep_own(sweep: Sweep, run: RunInfo, path: Path, on_foreign: OnForeign) -> None:
    records = file.read(path)
    file.refuse_others(path, run)
    if foreign := foreign_records(sweep, run, records):
        aside = file.keep_only(path, [record for place, record in enumerate(records) if place not in foreign])
        on_foreign(aside, len(foreign), tuple(dict.fromkeys(word for words in foreign.values() for word in words)))


def run_sweep(
    sweep: Sweep,
    cells: Iterable[Cell],
    path: Path,
    run: RunInfo,
    *,
    on_start: Callable[[Cell], None] = lambda _: None,
    on_done: Callable[[Cell], None] = lambda _: None,
) -> Iterator[Record]:
    """Measures `cells`, as `missing_cells` gives them, and appends each record to `path`, yielding it.

    What fails is recorded as failed and the sweep goes on.  The records of a cell are written when all its layouts are
    done, which are sampled in turns: what is stopped before loses their samples.  `on_start` and `on_done` are told of
    each cell.
    """
    sharing = _name_layouts(sweep, path)
    for cell in cells:
        on_start(cell)
        for layout, found in _guarded(cell, sweep).items():
            failure, findings = (found, Findings()) if isinstance(found, Failure) else (None, found)
            status, error = (failure.status, failure.error) if failure else ("ok", "")
            if cell.kind == "linear":
                findings = replace(findings, layouts=sharing)
            record = Record(
                run=run, kind=cell.kind, layout=layout.name, tokens=cell.tokens, impl=_impl(sweep, cell, layout),
                asked=NO_IMPL if cell.kind == "linear" else sweep.impl, text=_text(sweep, cell), status=status,
                error=error, time=now(), layout_digest=layout_digest(layout.variants),
                tokens_digest=_tokens_digest(sweep, cell), **vars(findings),
            )  # fmt: skip
            file.append(path, record)
            yield record
            breathe()
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


def missing_cells(sweep: Sweep, path: Path, run: RunInfo, again: Sequence[str] = ()) -> list[Cell]:
    """What a sweep has to measure: its plan, less what `path` holds of a run of the same, but what is named `again`."""
    records, cells = file.read(path), plan(sweep)
    if not records:
        return cells
    foreign = foreign_records(sweep, run, records)
    kept = file.latest(record for place, record in enumerate(records) if place not in foreign)

    def key(cell: Cell, layout: NamedLayout) -> RecordCell:
        impl, text = _impl(sweep, cell, layout), _text(sweep, cell)
        return cell_of(run, cell.kind, layout.name, cell.tokens, impl, text)

    planned = {key(cell, layout) for cell in cells for layout in cell.layouts}
    repeated = cells_again(again, [record for record in kept if record.cell in planned], layout_names(sweep))
    done = {record.cell for record in kept if record.status == "ok"} - repeated
    lacking = (cell.only([one for one in cell.layouts if key(cell, one) not in done]) for cell in cells)
    return [cell for cell in lacking if cell.layouts]


def _guarded(cell: Cell, sweep: Sweep) -> Mapping[NamedLayout, Findings | Failure]:
    """What was found of each layout of a cell, or what it died of; alone, where the cell died as a whole."""
    found = attempt(partial(MEASURES[cell.kind], sweep, cell.layouts, cell.tokens))
    if not isinstance(found, Failure):
        return found
    breathe()
    if len(cell.layouts) > 1:
        return {one: how for layout in cell.layouts for one, how in _guarded(cell.only([layout]), sweep).items()}
    return {cell.layouts[0]: found}


def run_of(sweep: Sweep, invocation: str | None = None) -> RunInfo:
    """What every record of a sweep says of the model, the machine, the code and the command or call `invocation`.

    To be asked for once, before anything is measured: files and commit may change while a sweep runs.
    """
    where, code = environment(), code_digest()
    config, device = sweep.model.config, jax.default_backend()
    held = sweep.model.held
    return RunInfo(
        config.name, sweep.model.weights_as_held, device, sweep.dtype.name, where, invocation, config_digest(config),
        sweep.params_digest, code, held.bits_per_weight, None if sweep.layers_apart else held.n_bytes, sweep.batch,
    )  # fmt: skip


def _text(sweep: Sweep, cell: Cell) -> TextSource | None:
    return TextSource(sweep.text.name, sweep.text.sha256) if cell.kind == "quality" else None


def _tokens_digest(sweep: Sweep, cell: Cell) -> str | None:
    """One layer's attention alone reads none."""
    return None if cell.kind == "attention" else tokens_digest(sweep.read_by(cell.kind, cell.tokens))


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
