"""`prefillwall compare`: the main job."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from attention.attend import Impl
from eval import records, report, sweep
from eval.commands import arguments
from eval.layers_apart import random_layers
from eval.memory import use_most_of_the_device
from eval.records import Record
from eval.timing import Budget, compile_program, median_ms
from refmodel.config import ModelConfig
from refmodel.default_model import default_text, text_sha256
from refmodel.source import Model, open_config, open_model

WHOLE = ("full", "5*swa(1024)+full")
LAYOUTS = (
    *WHOLE, "swa(1024)", "swa(1020,sinks=4)", "spans(256|1024|full,sinks=4)", "routed(256|full,router=periodic)",
    "moba(256,topk=4)",
    *(f"evict({policy},budget=1024,chunk=512)" for policy in ("streaming", "snapkv", "tova", "keydiff", "h2o")),
)  # fmt: skip
"""Compared where none are named, as far as they fit the model; of those in `WHOLE` the whole prefill is timed too."""

ON_GPU = (
    *WHOLE, "swa(1024)", "swa(1020,sinks=4)", "routed(512|512|4096|full,router=periodic)",
    "evict(keydiff,budget=4096,chunk=4096)",
)  # fmt: skip
"""The same on a GPU, where whole prefills are quick: all of them are timed."""

LENGTHS = (1024, 2048, 4096, 8192)
GPU_LENGTHS = tuple(1024 << k for k in range(7))
QUALITY_TOKENS = 3072

EPILOG = """examples:
  prefillwall compare
  prefillwall compare --layouts full 'swa(512)' 'swa(508,sinks=4)' --tokens 1024 2048 4096
  prefillwall compare --model tiny-moe --layouts 'swa(16)' --tokens 64 128 --out out/tiny
  prefillwall compare --out out/compare --resume
  prefillwall compare --model qwen3-30b-a3b --device gpu --out out/gpu
  prefillwall compare --model qwen3-30b-a3b --device gpu --layers-apart --out out/apart"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "compare", help="measure layouts against full attention: FLOPs, time, crossover, quality",
        description="Measures each layout at each length, the quality it costs on a text, and writes a report.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    arguments.add_model(parser)
    arguments.add_layouts(parser, LAYOUTS)
    parser.add_argument(
        "--tokens", nargs="+", type=arguments.positive, metavar="N",
        help=f"prompt lengths (default: {' '.join(map(str, LENGTHS))}; on a GPU {' '.join(map(str, GPU_LENGTHS))})",
    )  # fmt: skip
    parser.add_argument("--device", choices=("cpu", "gpu"), help="where to run (default: what JAX finds)")
    parser.add_argument(
        "--impl", choices=get_args(Impl), default="auto", help="attention, on every layer (default: %(default)s)"
    )
    parser.add_argument(
        "--layers-apart", action="store_true",
        help="time each distinct layer once, with random weights, and multiply: for cards that do not hold the model",
    )  # fmt: skip
    parser.add_argument("--text", metavar="FILE", help="UTF-8 text to read (default: Python's own manual)")
    parser.add_argument(
        "--quality-tokens", type=arguments.text_length, metavar="N",
        help="length of text for perplexity and divergence, in one pass; 0 leaves quality out "
        f"(default: {QUALITY_TOKENS}, or the whole of a shorter text; 0 with random weights)",
    )  # fmt: skip
    parser.add_argument("--dtype", choices=tuple(arguments.DTYPES), help="default: float32, on a GPU bfloat16")
    arguments.add_seed(parser)
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="folder (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="keep the records in --out and measure what is missing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    console = Console()
    on_gpu = _open_device(options.device)
    dtype = arguments.DTYPES[options.dtype or ("bfloat16" if on_gpu else "float32")]
    if options.layers_apart:
        config = open_config(options.model)
        model = Model(config, random_layers(config, options.seed, dtype), None, f"random (seed {options.seed})")
    else:
        model = open_model(options.model, dtype, options.seed)
    plan = _plan(model, options, on_gpu)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "records.jsonl"
    with records.only_writer(options.out):
        if options.resume:
            records.refuse_others(path, sweep.common_fields(plan))
        else:
            _set_aside(path)
        _announce(console, plan, path)
        for record in _with_progress(plan, path, options.resume):
            console.print(_line(record), highlight=False)
    kept = records.latest(records.read(path))
    command = shlex.join(["prefillwall", *sys.argv[1:]]) if sys.argv[1:] else "prefillwall compare"
    report_path = report.write_report(options.out, kept, config=model.config, command=command)
    report.render_terminal(kept, console, config=model.config)
    console.print(f"\nreport: {report_path.resolve()}", soft_wrap=True, highlight=False)
    failed = [record for record in kept if record["status"] != "ok"]
    return 1 if len(failed) == len(kept) else 0


def _open_device(device: str | None) -> bool:
    """Whether JAX runs on a GPU.  Raises `ValueError` if it does not run on `device`."""
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    else:
        use_most_of_the_device()
    found = jax.default_backend()
    if device and found != device:
        raise ValueError(f"--device {device}: JAX runs on {found} here")
    return found == "gpu"


def _plan(model: Model, options: argparse.Namespace, on_gpu: bool) -> sweep.Sweep:
    lengths = tuple(sorted(set(options.tokens or (GPU_LENGTHS if on_gpu else LENGTHS))))
    usual = (ON_GPU, ON_GPU) if on_gpu else (LAYOUTS, WHOLE)
    layouts, whole = (options.layouts or _fitting(model.config, names, lengths[0]) for names in usual)
    words = arguments.read_text(options.text) if options.text else default_text()
    text = sweep.text_tokens(model, words, options.text or "pydoc_data.topics", text_sha256(words))
    quality_tokens = options.quality_tokens
    if quality_tokens is None:
        quality_tokens = min(QUALITY_TOKENS, len(text.tokens)) if model.weights == "checkpoint" else 0
        quality_tokens *= quality_tokens > 1
    return sweep.Sweep(
        model=model,
        text=text,
        layouts=arguments.canonical_layouts(model.config, layouts),
        whole=arguments.canonical_layouts(model.config, whole),
        lengths=lengths,
        quality_tokens=quality_tokens,
        budget=Budget(),
        impl=options.impl,
        layers_apart=options.layers_apart,
    )


def _fitting(config: ModelConfig, layouts: Sequence[str], shortest_tokens: int) -> list[str]:
    """Those whose cycle divides the model's layers, whose spans suit its heads and whose chunks the prompts."""

    def fits(layout: str) -> bool:
        try:
            for variant in config.with_layout(layout).layout:
                variant.check_prompt(shortest_tokens)
        except ValueError:
            return False
        return True

    return [layout for layout in layouts if fits(layout)]


def _set_aside(path: Path) -> None:
    """A new run starts a new file; an older one is renamed, never overwritten."""
    if path.exists():
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(path.stat().st_mtime))
        path.rename(path.with_name(f"records.{stamp}.jsonl"))


def _announce(console: Console, plan: sweep.Sweep, path: Path) -> None:
    config, cells = plan.model.config, sweep.plan(plan)
    rate_flops = _matmul_flops_per_s(plan.dtype)
    # Warm-ups and samples, about.
    runs = {"linear": 2.5, "prefill": 2.5, "attention": 6.0, "quality": 1.2, "apart": 1.0}
    reached = 0.75  # of a lone product's rate by a whole prefill; all this is a guess, and is printed as one
    minutes = sum(runs[cell.kind] * cell.work_flops for cell in cells) / (reached * rate_flops) / 60
    console.print(
        f"{config.name} ({plan.model.weights} weights), {config.n_layers} layers, on {jax.devices()[0].device_kind}\n"
        f"layouts: {', '.join(plan.layouts)}\nlengths: {', '.join(f'{n:,}' for n in plan.lengths)} tokens"
        + (f"; quality over {plan.quality_tokens:,}" if plan.quality_tokens else "; no quality")
        + f"\nabout {max(minutes, 0.1):.1f} min at the {rate_flops / 1e9:.0f} GFLOP/s of a matrix product just now"
        f"\nrecords: {path}\n",
        highlight=False,
    )


def _matmul_flops_per_s(dtype: Any) -> float:
    n = 1536 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (n, n), dtype)
    program = compile_program(jnp.dot, a, a)
    program.run_ms()
    return 2 * n**3 / (1e-3 * min(program.run_ms() for _ in range(3)))


def _with_progress(plan: sweep.Sweep, path: Path, resume: bool):
    """The sweep's records, under a bar that counts FLOPs: the last cells take most of the time."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), TimeElapsedColumn()
    with Progress(*columns, transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("measuring", total=sum(cell.work_flops for cell in sweep.plan(plan)))
        yield from sweep.run_sweep(
            plan,
            path,
            resume=resume,
            on_start=lambda cell: progress.update(task, description=f"{cell.kind} {cell.tokens:,}"),
            on_done=lambda cell: progress.advance(task, cell.work_flops),
        )


def _line(record: Record) -> str:
    """One finished record, for the log."""
    place = f"{record['kind']:<9} {record['tokens']:>7,}  {record['layout']}"
    if record["status"] != "ok":
        return f"{place}: {record['status']} ({record['error']})"
    if "quality" in record:
        quality = record["quality"]
        return f"{place}: perplexity {quality['perplexity']:.3f}, KL {quality['kl_nats']:.4f} nats"
    timing = record["timing"]
    return f"{place}: {median_ms(timing):,.1f} ms ({len(timing['samples_ms'])} samples)"
