"""The figures of docs/results.md on weights of few bits, as Markdown, from the records of `eval.bench.packed_*`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eval.bench.kept import read_kept
from eval.report.number_format import count, size
from eval.report.table import Table

MODELS: Final = Path("eval/results/h200-packed/records.jsonl")
QUALITY: Final = Path("eval/results/weights-quality/records.jsonl")
PROGRAMS: Final = {"prefill": "prefill", "decode_step": "a decode step behind"}


@dataclass(frozen=True)
class PackedRun:
    """One program under one format of weights, of `eval.bench.packed_model`."""

    kind: str
    model: str
    weights: str
    tokens: int
    bits: float
    weight_bytes: int
    samples_ms: tuple[float, ...]
    temporary_bytes: int | None
    device_kind: str
    jax: str
    git_commit: str | None


@dataclass(frozen=True)
class QualityRun:
    """One format of weights, of `eval.bench.packed_quality`."""

    model: str
    weights: str
    tokens: int
    bits: float
    weight_bytes: int
    perplexity: float
    kl_nats: float
    top1_agreement: float
    git_commit: str | None


def packed_figures(root: Path) -> str:
    """Both tables."""
    tables = (
        model_table(read_kept(PackedRun, root / MODELS), MODELS),
        quality_table(read_kept(QualityRun, root / QUALITY), QUALITY),
    )
    return "\n".join(table.to_markdown().replace("## ", "### ", 1) for table in tables)


def model_table(runs: Sequence[PackedRun], source: Path) -> Table:
    """Each program's time under each format, beside that of the weights that are not packed in the same run."""
    plain = {(run.kind, run.tokens): run for run in runs if run.bits == 16}
    rows = []
    for run in runs:
        ms, base = statistics.median(run.samples_ms), plain[run.kind, run.tokens]
        rows.append(
            (
                f"{PROGRAMS[run.kind]} {count(run.tokens)} tokens", run.weights, f"{run.bits:.2f}",
                size(run.weight_bytes), f"{ms:,.2f} ms", f"{ms / statistics.median(base.samples_ms):.2f}",
                "-" if run.temporary_bytes is None else f"{run.temporary_bytes / 1e6:,.1f} MB",
            )
        )  # fmt: skip
    header = ("program", "weights", "bits", "weight memory", "median", "of bf16", "temporaries")
    ((device, version, model),) = {(run.device_kind, run.jax, run.model) for run in runs}
    commits = ", ".join(dict.fromkeys(f"{run.tokens:,} tokens at {(run.git_commit or '-')[:7]}" for run in runs))
    note = (
        f"{device}, jax {version}, {commits}: {model} with random weights under full attention, "
        f"products in bf16, in turns in one process (decode: one after the other). Records: `{source}`."
    )
    return Table("Weights of few bits on one GPU", header, tuple(rows), note, words=(0, 1))


def quality_table(runs: Sequence[QualityRun], source: Path) -> Table:
    """What each format costs a trained model."""
    rows = tuple(
        (
            run.weights, f"{run.bits:.2f}", f"{run.weight_bytes / 1e6:,.1f} MB", f"{run.perplexity:.3f}",
            f"{run.kl_nats:.5f}", f"{100 * run.top1_agreement:.1f} %",
        )
        for run in runs
    )  # fmt: skip
    ((model, tokens),) = {(run.model, run.tokens) for run in runs}
    note = (
        f"{model}, {count(tokens)} tokens of Python's manual in one pass, products in float32; KL(float32 || format), "
        "nats. kept: as the file has them, which is what float32 expands; the others round those once more. Records: "
        f"`{source}`."
    )
    header = ("weights", "bits", "weight memory", "perplexity", "KL", "same top token")
    return Table("What weights of few bits cost a model of 135M", header, rows, note)
