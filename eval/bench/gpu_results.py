"""The GPU figures of docs/results.md, as Markdown, from the records that the GPU benchmarks in `eval.bench` left."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from attention.full import FULL
from eval.bench.gpu_kernels import other_heads
from eval.bench.kept import KernelRun, ModelRun, StepRun, read_kept
from eval.measure.records import file
from eval.measure.records.schema import Record
from eval.measure.timing import Timing
from eval.report.layout_result import LayoutResult
from eval.report.number_format import count, duration, factor, percent
from eval.report.run_facts import crossovers
from eval.report.summary import Summary, summarise
from eval.report.table import Table
from eval.report.tables import ATTENTION_GAIN, TIME, WHOLE_GAIN, apart_table, crossover_table
from refmodel.presets import preset

KERNELS: Final = Path("eval/results/h100-kernels/records.jsonl")
OTHER_HEADS: Final = Path("eval/results/h200-kernels/records.jsonl")
PEER: Final = Path("eval/results/h100-qwen3-30b-a3b/transformers.jsonl")
VARIANTS: Final = Path("eval/results/h100-qwen3-30b-a3b/records.jsonl")
OTHERS: Final = Path("eval/results/h100-other-layouts/records.jsonl")
STEPS: Final = Path("eval/results/h200-decode/records.jsonl")
ATLAS: Final = Path("eval/results/h200-atlas")
DELTA_RULE: Final = Path("eval/results/h200-delta-rule/records.jsonl")
OURS: Final = {"ours": "this project", "ours, Hopper": "this project, Hopper"}
PEERS: Final = (
    "cudnn", "flash-attention-3", "flex-attention", "sdpa flash", "jax mha", "torch grouped_mm", "jax ragged_dot_mgpu",
)  # fmt: skip
MISSING: Final = "-"
SHOWN_LENGTHS: Final = 3
"""The longest of those at which some layout was measured; `prefillwall report` on the records shows every one."""


def gpu_figures(root: Path) -> str:
    """All tables, with the device that the records name."""
    tables = (
        kernel_table(read_kept(KernelRun, root / KERNELS), KERNELS),
        other_heads_table(read_kept(KernelRun, root / OTHER_HEADS), OTHER_HEADS),
        model_table(read_kept(ModelRun, root / PEER), PEER),
        step_table(read_kept(StepRun, root / STEPS), STEPS),
        delta_rule_table(read_kept(KernelRun, root / DELTA_RULE), DELTA_RULE),
        atlas_table(root),
        *variant_tables(variants_summary(root), VARIANTS),
        *other_tables(file.read(root / OTHERS), OTHERS),
    )
    return "\n".join(table.to_markdown().replace("## ", "### ", 1) for table in tables)


def variants_summary(root: Path) -> Summary:
    """Whole prefills of the usual layouts."""
    (summary,) = summarise(file.read(root / VARIANTS), preset("qwen3-30b-a3b"))
    return summary


def variant_tables(summary: Summary, source: Path) -> tuple[Table, ...]:
    """What each layout of the whole model saved at long prompts, its crossover, and what the sum of its layers says."""
    return *_saved(summary, source), crossover_table(summary, *crossovers(summary)), apart_table(summary)


def other_tables(kept: Sequence[Record], source: Path) -> list[Table]:
    """What layouts saved that are not among the usual ones, beside full attention in a run of their own."""
    (summary,) = summarise(kept, preset("qwen3-30b-a3b"))
    return [replace(table, title=f"Other layouts: {table.title}") for table in _saved(summary, source)]


def _saved(summary: Summary, source: Path) -> list[Table]:
    lengths = sorted({row.tokens for row in summary.results if row.whole_ms})[-SHOWN_LENGTHS:]
    long = replace(summary, results=tuple(row for row in summary.results if row.tokens in lengths))
    card = _only(record.run.environment.device_kind for record in summary.records)
    time = TIME.of(long)
    note = f"{time.note} {summary.config.name} with random weights in {summary.dtype}, {card}. \
{other_runs(summary.records, lengths)}Records: `{source}`."
    return [replace(time, note=note), WHOLE_GAIN.of(long), ATTENTION_GAIN.of(long)]


def other_runs(kept: Sequence[Record], lengths: Sequence[int]) -> str:
    """Whole prefills that were not timed at the commit of full attention's, and so in another run."""
    commits = {
        (record.layout, record.tokens): record.run.environment.git_commit
        for record in kept
        if (record.kind, record.status) == ("prefill", "ok") and record.tokens in lengths
    }
    others = [
        f"`{layout}` at {count(tokens)}"
        for (layout, tokens), at in commits.items()
        if at != commits.get((FULL, tokens), at)  # without full attention no gain is told
    ]
    if not others:
        return ""
    return f"Of another run than full attention's, so that their gains are less sure: {'; '.join(others)}. "


def kernel_table(runs: Sequence[KernelRun], source: Path) -> Table:
    """TFLOP/s on useful FLOPs of each kernel and its peers, timed in turns in the last run that timed ours."""
    timed = sorted((run for run in runs if (run.contender, run.status) == ("ours", "ok")), key=lambda run: run.time)
    ours = {(run.case, run.rows): run for run in timed}
    beside = [
        run for run in runs if run.time == (ours[run.case, run.rows].time if (run.case, run.rows) in ours else "")
    ]
    device, version = _only(run.device_kind for run in beside), _only(run.jax for run in beside)
    rows = []
    for (case, size), own in ours.items():
        rates = {
            run.contender: f"{run.tflops:.0f}"
            for run in beside
            if (run.case, run.rows, run.status) == (case, size, "ok")
        }
        figures = (rates.get(name, MISSING) for name in (*OURS, *PEERS))
        rows.append((case, count(size), *figures, _read_share(own), (own.git_commit or MISSING)[:7]))
    note = f"{device}, jax {version}, bf16: TFLOP/s of useful FLOPs (visible pairs; rows that an expert has). \
Attention: 32 query and 4 key-value heads of 128. Routed: half of the tokens see 512 keys, a quarter 4,096, a quarter \
all, packing included; no peer was timed there. jax's own two: the fastest of a few tiles, keys and values of `mha` \
repeated for its want of groups, outside the time. Weights read: the fastest sum of all weights, as a share of this \
project's time. Contenders of a row took turns in one run; between rows of two commits lie hours. Records: `{source}`."
    header = ("case", "rows", *OURS.values(), *PEERS, "weights read", "commit")
    return Table("Kernels", header, tuple(rows), note, words=(0, len(header) - 1))


def other_heads_table(runs: Sequence[KernelRun], source: Path) -> Table:
    """The attention kernels on the heads of other models, and on lengths that no tile divides."""
    names = {case.name for case in other_heads()}
    table = kernel_table([run for run in runs if run.case in names], source)
    named = [name for name in table.header if any(row[table.header.index(name)] != MISSING for row in table.rows)]
    rows = tuple(tuple(row[table.header.index(name)] for name in named) for row in table.rows)
    note = (
        f"{_only(run.device_kind for run in runs)}, jax {_only(run.jax for run in runs)}, bf16: TFLOP/s of useful "
        "FLOPs. Query/key-value heads of so many channels: Qwen3.5-35B-A3B's full layers, Gemma 4's local ones, "
        "gpt-oss's, SmolLM2's, and Qwen3-30B-A3B's at a length that no tile divides. cuDNN takes no heads of 256 here. "
        f"Contenders of a row took turns in one run. Records: `{source}`."
    )
    return Table("Kernels on other heads", tuple(named), rows, note, words=(0, len(named) - 1))


def _read_share(run: KernelRun) -> str:
    """Reading the weights once, at its fastest, over the product with them."""
    return percent(min(run.weights_read_ms) / statistics.median(run.samples_ms)) if run.weights_read_ms else MISSING


def model_table(runs: Sequence[ModelRun], source: Path) -> Table:
    """Whole prefills of Qwen3-30B-A3B beside transformers', one after the other on one machine."""
    theirs: dict[int, Timing] = {}
    pairs: dict[tuple[str, int], tuple[Timing, Timing]] = {}
    for run in runs:  # in the order of the runs, of which each times theirs first: ours belong to the last of theirs
        if run.timing and run.contender == "transformers":
            theirs[run.tokens] = run.timing
        elif run.timing:
            pairs[run.layout, run.tokens] = theirs[run.tokens], run.timing
    layouts = dict.fromkeys(layout for layout, _ in pairs)
    rows = []
    for tokens in sorted(theirs):
        low, high = (pick(theirs[tokens].samples_ms) for pick in (min, max))
        cells = [count(tokens), f"{duration(theirs[tokens].median_ms)} ({duration(low)}-{duration(high)})"]
        for layout in layouts:
            base_ms, ms = (timing.median_ms for timing in pairs[layout, tokens])
            cells += [duration(ms), factor(base_ms / ms)]
        rows.append(tuple(cells))
    device = _only(run.device_kind for run in runs)
    library = _only(run.transformers_version for run in runs if run.transformers_version)
    header = ("tokens", "transformers, full", *(cell for layout in layouts for cell in (f"ours, {layout}", "faster")))
    note = f"{device}: one prefill in bf16, last-token logits, random weights, median (fastest-slowest). transformers \
{library}: SDPA and grouped_mm experts. Faster: than transformers' full attention in the same run, which went before \
ours. Records: `{source}`."
    return Table("Qwen3-30B-A3B on one GPU", header, tuple(rows), note, words=())


def step_table(runs: Sequence[StepRun], source: Path) -> Table:
    """One decoded token at a time, after a prompt under the same layout."""
    rows = []
    for run in runs:
        ms = statistics.median(run.samples_ms)
        read = f"{run.step_bytes / ms / 1e9:.2f}" if run.step_bytes else MISSING
        cells = f"{ms:.2f} ms", f"{1e3 * run.batch / ms:.0f}", read, (run.git_commit or MISSING)[:7]
        rows.append((run.layout, str(run.batch), count(run.context_tokens), *cells))
    names = "device_kind", "jax", "model", "dtype"
    device, version, model, dtype = (_only(getattr(run, name) for run in runs) for name in names)
    header = ("layout", "batch", "context", "a step", "tokens/s", "TB/s", "commit")
    note = (
        f"{device}, jax {version}: {model} with random weights in {dtype}, greedy, 16 steps a call, median. TB/s: what "
        "a step has to move (weights in use and cache, each once) over its time; with several rows the experts in use "
        f"are not known. Records: `{source}`."
    )
    return Table("A decode step", header, tuple(rows), note, words=(0, len(header) - 1))


def atlas_table(root: Path) -> Table:
    """Crossovers of models under their own layouts: by FLOPs, and of times."""
    rows, devices = [], set()
    for path in sorted((root / ATLAS).glob("*/records.jsonl")):
        (summary,) = summarise(file.read(path), preset(path.parent.name))
        devices |= {one.run.environment.device_kind for one in summary.records}
        commit = _only(one.run.environment.git_commit for one in summary.records)
        timed, counted = crossovers(summary)
        for layout, one in timed.items():
            found, by_flops = one.tokens or math.nan, counted[layout] or math.nan
            interval = f"{one.low:,.0f} to {one.high:,.0f}" if one.low and one.high else one.reason
            cells = f"{by_flops:,.0f}", f"{found:,.0f}", interval, f"{by_flops / found - 1:+.0%}"
            beside = min(summary.of(layout), key=lambda result: abs(result.tokens - found))
            rows.append((path.parent.name, layout, *cells, *_rates(beside), commit[:7]))
    note = (
        f"{_only(devices)}, bf16, random weights: where the fits of attention's and of the linear layers' times cross, "
        "90 % interval, and how far the crossover by FLOPs is off: about as far as the two parts' rates are apart, in "
        "useful TFLOP/s at the length next to N*. qwen3.5-35b-a3b has 30 Gated DeltaNet layers, which count as linear, "
        f"and 10 of full attention; llama3-8b is made for 8,192 tokens. Records: `{ATLAS}`."
    )
    header = ("model", "layout", "N* by FLOPs", "N* of times", "90 %", "off", "attention", "linear", "commit")
    return Table("The atlas, measured", header, tuple(rows), note, words=(0, 1, 8))


def _rates(result: LayoutResult) -> tuple[str, str]:
    """Useful TFLOP/s of attention and of the linear layers, timed apart."""
    assert result.useful and result.attention_ms and result.linear_ms
    parts = (result.useful.attention, result.attention_ms), (result.useful.linear, result.linear_ms)
    attention, linear = (f"{flops / spread.median / 1e9:.0f}" for flops, spread in parts)
    return attention, linear


def delta_rule_table(runs: Sequence[KernelRun], source: Path) -> Table:
    """Each contender of the last run, and how many times as long as ours it took."""
    last = [run for run in runs if run.time == max(one.time for one in runs)]
    ours = {run.rows: statistics.median(run.samples_ms) for run in last if run.contender == "ours"}
    rows = []
    for run in last:
        cells = [run.reason or run.status, "", "", ""]
        if run.status == "ok":
            ms = statistics.median(run.samples_ms)
            cells = [f"{ms:.3f} ms", factor(ms / ours[run.rows]), f"{run.tflops:.0f}", f"{run.relative_error:.1e}"]
        rows.append((count(run.rows), run.contender, *cells, (run.git_commit or MISSING)[:7]))
    device, version = (_only(getattr(run, name) for run in last) for name in ("device_kind", "jax"))
    header = ("tokens", "contender", "time", "of ours", "TFLOP/s", "relative error", "commit")
    note = (
        f"{device}, jax {version}, bf16: one Gated DeltaNet layer of Qwen3.5-35B-A3B behind its projections and "
        "convolution, 16 key and 32 value heads of 128, in turns, median. TFLOP/s: of the recurrence, 6·128·128 a "
        f"token and value head. Error: against float32. Records: `{source}`."
    )
    return Table("The gated delta rule", header, tuple(rows), note, words=(1, len(header) - 1))


def _only(values: Iterable[Any]) -> Any:
    (value,) = set(values)
    return value
