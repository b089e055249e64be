"""The sweep: every cell of a plan, measured, recorded at once, resumed where it stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax

from attention.attend import resolve_impl
from eval.measure import records
from eval.measure.cells import MEASURES, on_gpu
from eval.measure.layer_impls import layer_impls
from eval.measure.plan import Cell, Sweep, plan
from eval.measure.records import Record


@contextlib.contextmanager
def records_file(
    sweep: Sweep, folder: Path, *, resume: bool = False, on_set_aside: Callable[[Path], None] = lambda _: None
) -> Iterator[Path]:
    """The file in `folder` that a run of `sweep` appends to, held for it alone.

    A new run sets an older file aside, `records.<time>.jsonl`, and tells `on_set_aside`; `resume` keeps it, and raises
    `ValueError` if its records were made with another model or on another machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "records.jsonl"
    with records.only_writer(folder):
        if resume:
            records.refuse_others(path, common_fields(sweep))
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

    A cell that fails is recorded as failed and the sweep goes on.  Records name the command `invocation` that measured
    them, where it was one.  `on_start` and `on_done` are told of each cell.
    """
    common = common_fields(sweep) | ({} if invocation is None else {"invocation": invocation})
    layouts = _name_layouts(sweep, path)
    for cell in cells:
        on_start(cell)
        results = _guarded(cell, sweep, cell.names)
        for name in cell.names:
            record = {**_identity(sweep, common, cell, name), **results[name], "time": records.now()}
            if cell.kind == "linear":
                record["layouts"] = layouts
            records.append(path, record)
            yield record
        on_done(cell)


def _name_layouts(sweep: Sweep, path: Path) -> list[str]:
    """All layouts that share the linear part: those that `path` names, and the sweep's.

    A layout that is timed in parts alone has no record of its own, and where a run before timed its parts nothing of it
    is missing: the linear part's records that are there name it from now on.
    """
    linear = [record for record in records.latest(records.read(path)) if record["kind"] == "linear"]
    earlier = [layout for record in linear for layout in record.get("layouts", ())]
    layouts = list(dict.fromkeys([*earlier, *sweep.layouts]))
    for record in linear:
        if record["status"] == "ok" and set(layouts) - set(record.get("layouts", ())):
            records.append(path, record | {"layouts": layouts})
    return layouts


def missing_cells(sweep: Sweep, path: Path) -> list[Cell]:
    """What a sweep has to measure: its plan, less what `path` holds of a run that was stopped."""
    done = {records.key(record) for record in records.read(path) if record["status"] == "ok"}
    if not done:
        return plan(sweep)
    common = common_fields(sweep)

    def lacking(cell: Cell) -> Cell:
        return cell.only([n for n in cell.names if records.key(_identity(sweep, common, cell, n)) not in done])

    return [cell for cell in map(lacking, plan(sweep)) if cell.names]


def _guarded(cell: Cell, sweep: Sweep, names: tuple[str, ...]) -> dict[str, Record]:
    try:
        return {
            name: {"status": "ok", **record} for name, record in MEASURES[cell.kind](sweep, names, cell.tokens).items()
        }
    except Exception as error:  # whatever one cell dies of, the others still count
        out_of_memory = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
        failure = {
            "status": "out-of-memory" if out_of_memory else "failed",
            "error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}",
        }
        return dict.fromkeys(names, failure)


def common_fields(sweep: Sweep) -> Record:
    """What every record of a sweep says of the model and the machine."""
    return {
        "model": sweep.model.config.name,
        "weights": sweep.model.weights,
        "device": jax.default_backend(),
        "dtype": sweep.dtype.name,
        "environment": records.environment(),
    }


def _identity(sweep: Sweep, common: Record, cell: Cell, name: str) -> Record:
    text = {"text_sha256": sweep.text.sha256} if cell.kind == "quality" else {}
    asked = {} if cell.kind == "linear" else {"asked": sweep.impl}
    return {"kind": cell.kind, "layout": name, "tokens": cell.tokens, "impl": _impl(sweep, cell, name), **asked,
            **text, **common}  # fmt: skip


def _impl(sweep: Sweep, cell: Cell, name: str) -> str:
    """The attention implementations that run in a cell, `none` for none."""
    if cell.kind == "linear":
        return "none"
    if not on_gpu():
        return resolve_impl(sweep.impl, cell.tokens, cell.tokens)
    variants = dict.fromkeys(sweep.model.config.with_layout(name).layout)
    try:
        found = (layer_impls(sweep.model.config, v, cell.tokens, sweep.dtype, sweep.impl) for v in variants)
        return "+".join(dict.fromkeys(impl for impls in found for impl in impls))
    except Exception:  # the cell itself will say what is wrong
        return sweep.impl
