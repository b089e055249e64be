"""What a person sees of a sweep while it runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from eval.measure.named_layout import unseen_losses
from eval.measure.notebook_bar import NotebookBar, in_notebook
from eval.measure.plan import Cell, Sweep
from eval.measure.records.schema import Record, RunInfo
from eval.measure.sweep import run_sweep


def progress_bar(*, watched: bool) -> Progress:
    """On stderr, in a notebook among its outputs, gone when done; nothing at all unless somebody watches."""
    if watched and in_notebook():
        return NotebookBar()
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), TimeElapsedColumn()
    return Progress(*columns, transient=True, console=Console(stderr=True), disable=not watched)


def watched_sweep(sweep: Sweep, cells: Sequence[Cell], path: Path, run: RunInfo, *, watched: bool) -> Iterator[Record]:
    """The records of `run_sweep`, under a bar that counts FLOPs: the last cells take most of the time."""
    with progress_bar(watched=watched) as progress:
        task = progress.add_task("measuring", total=sum(cell.work_flops for cell in cells))
        yield from run_sweep(
            sweep,
            cells,
            path,
            run,
            on_start=lambda cell: progress.update(task, description=f"{cell.kind} {cell.tokens:,}"),
            on_done=lambda cell: progress.advance(task, cell.work_flops),
        )


def remarks(sweep: Sweep) -> list[str]:
    """What to know of a sweep before it runs: layouts that are left out, lengths that the model is not made for."""
    said = []
    if sweep.left_out:
        by_reason: dict[str, list[str]] = {reason: [] for reason in sweep.left_out.values()}
        for layout, reason in sweep.left_out.items():
            by_reason[reason].append(layout)
        said.append("left out: " + "; ".join(f"{', '.join(x)} (not for {reason})" for reason, x in by_reason.items()))
    if sweep.beyond_context:
        config = sweep.model.config
        said.append(
            f"beyond the {config.max_positions:,} tokens that {config.name} is made for: "
            f"{', '.join(f'{tokens:,}' for tokens in sweep.beyond_context)}; times and FLOPs hold, and quality is read "
            "within them"
        )
    return [*said, *(unseen_losses(sweep.layouts) if sweep.quality_tokens else ())]


def say_set_aside(path: Path) -> None:
    """One line on stderr: which file holds the records of the run before, and how to see its report again."""
    print(
        f"an earlier run's records are kept as {path}; this run's report takes the place of its report, which "
        f"`prefillwall report {shlex.quote(str(path))}` draws again",
        file=sys.stderr,
    )


def say_foreign(aside: Path, count: int, different: Sequence[str]) -> None:
    """One line on stderr: what of a resumed run's records is measured again, why, and where it is kept."""
    print(
        f"{count} records that were there are not of this run ({'; '.join(different)}): what is asked for of them "
        f"is measured again, and the file as it was is kept as {aside}",
        file=sys.stderr,
    )
