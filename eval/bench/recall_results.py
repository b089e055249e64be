"""The figures of docs/results.md on associative recall, as Markdown, from the records of `eval.bench.recall`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eval.bench.kept import read_kept
from eval.quality.recall import VALUES, Recalled
from eval.report.table import Table

RECORDS: Final = Path("eval/results/h200-recall/records.jsonl")


@dataclass(frozen=True)
class RecallRun:
    """One model of `eval.bench.recall`, trained and asked."""

    layout: str
    seed: int
    params: int
    tokens: int
    batch_tokens: int
    steps: int
    last_loss_nats: float
    recalled: tuple[Recalled, ...]
    device_kind: str
    jax: str
    git_commit: str | None


def recall_figures(root: Path) -> str:
    """Both tables."""
    runs = sorted(read_kept(RecallRun, root / RECORDS), key=lambda run: run.seed)
    layouts = list(dict.fromkeys(run.layout for run in runs))
    runs.sort(key=lambda run: layouts.index(run.layout))
    tables = (share_table(runs, RECORDS), depth_table(runs))
    return "\n".join(table.to_markdown().replace("## ", "### ", 1) for table in tables)


def share_table(runs: Sequence[RecallRun], source: Path) -> Table:
    """What each model recalls of texts of each length."""
    lengths = [one.tokens for one in runs[0].recalled]
    rows = tuple(
        (run.layout, str(run.seed), f"{run.last_loss_nats:.3f}", *(f"{100 * one.share:.1f} %" for one in run.recalled))
        for run in runs
    )
    ((params, tokens, batch_tokens, steps, device, version),) = {
        (run.params, run.tokens, run.batch_tokens, run.steps, run.device_kind, run.jax) for run in runs
    }
    commits = ", ".join(dict.fromkeys((run.git_commit or "-")[:7] for run in runs))
    note = (
        f"{device}, jax {version}, at {commits}: models of {params:,} parameters in float32, each trained from nothing "
        f"under its layout, {steps:,} steps of {batch_tokens:,} tokens in texts of {lengths[0]} to {tokens}; the "
        f"seed is that of first weights and texts. Chance is {100 / VALUES:.1f} %. Records: `{source}`."
    )
    header = ("layout", "seed", "last loss, nats", *(f"{length} tokens" for length in lengths))
    return Table("Associative recall", header, rows, note)


def depth_table(runs: Sequence[RecallRun]) -> Table:
    """By how deep what is asked for stood, of each layout's model with the least loss, at all lengths but the shortest,
    which is as long as a window."""
    least = {run.layout: run for run in sorted(runs, key=lambda run: -run.last_loss_nats)}
    best = [run for run in runs if least[run.layout] is run]
    told = [(run, one) for run in best for one in run.recalled[1:]]
    stretches = len(told[0][1].asked)
    rows = tuple(
        (run.layout, str(run.seed), str(one.tokens),
         *(f"{100 * right / asked:.0f}" for right, asked in zip(one.right, one.asked, strict=True)))
        for run, one in told
    )  # fmt: skip
    note = (
        f"Percent of the pairs in each of {stretches} equal stretches of a text, its first tokens first; the questions "
        "follow its last. Of each layout the model whose last loss is the least."
    )
    header = ("layout", "seed", "tokens", *(f"{place} of {stretches}" for place in range(1, stretches + 1)))
    return Table("Associative recall by depth", header, rows, note)
