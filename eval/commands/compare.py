"""`prefillwall compare`: the main job."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from attention.attend import Impl
from eval import records
from eval.commands import arguments
from eval.commands.chosen import open_device, running_config, running_dtype, running_model
from eval.commands.output import Console, is_watched, print_json
from eval.comparison import Comparison
from eval.layers_apart import random_layers
from eval.plan import GPU_LENGTHS, LAYOUTS, LENGTHS, QUALITY_TOKENS, Sweep, plan, usual_sweep
from eval.records import Record
from eval.sweep import records_file, run_sweep
from eval.timing import compile_program, median_ms
from refmodel.source import DEFAULT_MODEL, Model

DESCRIPTION = "Measures each layout at each length, the quality it costs on a text, and writes a report."

EXAMPLES = (
    "prefillwall compare",
    "prefillwall compare --layouts full 'swa(512)' 'swa(508,sinks=4)' --tokens 1024 2048 4096",
    "prefillwall compare --model tiny-moe --layouts 'swa(16)' --tokens 64 128 --out out/tiny",
    "prefillwall compare --model tiny-moe --layouts 'swa(16)' --tokens 64 128 --out out/tiny --resume",
    "prefillwall compare --model qwen3-30b-a3b --device gpu --out out/gpu",
    "prefillwall compare --model qwen3-30b-a3b --device gpu --layers-apart --out out/apart",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, DEFAULT_MODEL, runs=True)
    arguments.add_layouts(parser, LAYOUTS)
    arguments.add_tokens(parser, None, f"{' '.join(map(str, LENGTHS))}; on a GPU {' '.join(map(str, GPU_LENGTHS))}")
    arguments.add_device(parser)
    arguments.add_impl(parser, get_args(Impl))
    parser.add_argument(
        "--layers-apart", action="store_true",
        help="time each distinct layer once, with random weights, and multiply: for cards that do not hold the model",
    )  # fmt: skip
    arguments.add_text(parser)
    parser.add_argument(
        "--quality-tokens", type=arguments.text_length, metavar="N",
        help="length of text for perplexity and divergence, in one pass; 0 leaves quality out "
        f"(default: {QUALITY_TOKENS}, or the whole of a shorter text; 0 with random weights)",
    )  # fmt: skip
    arguments.add_dtype(parser)
    arguments.add_seed(parser)
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="folder (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="keep the records in --out and measure what is missing")
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    from eval import report  # matplotlib takes a while to load

    console = Console(stderr=options.json)  # stdout is the record's then
    dtype = running_dtype(options, on_gpu=open_device(options.device))
    if options.layers_apart:
        config = running_config(options.model)
        model = Model(config, random_layers(config, options.seed, dtype), None, f"random (seed {options.seed})")
    else:
        model = running_model(options, dtype)
    planned = usual_sweep(
        model,
        options.layouts,
        options.tokens,
        quality_tokens=options.quality_tokens,
        text=arguments.read_text(options.text) if options.text else None,
        text_name=options.text,
        impl=options.impl,
        layers_apart=options.layers_apart,
    )
    with records_file(planned, options.out, resume=options.resume) as path:
        _announce(console, planned, path)
        for record in _with_progress(planned, path, options.resume):
            console.print(_line(record), highlight=False)
    kept = records.latest(records.read(path))
    command = shlex.join(["prefillwall", *options.words])
    report_path = report.write_report(options.out, kept, config=model.config, command=command)
    report.render_terminal(kept, console, config=model.config)
    console.print(f"\nreport: {report_path.resolve()}", soft_wrap=True, highlight=False)
    console.print(f"open in a browser: {report_path.with_suffix('.html').resolve()}", soft_wrap=True, highlight=False)
    failed = [record for record in kept if record["status"] != "ok"]
    if options.json:
        print_json(_record(model, kept, path, report_path))
    return 1 if len(failed) == len(kept) else 0


def _record(model: Model, kept: list[Record], path: Path, report_path: Path) -> dict[str, Any]:
    compared = Comparison(model.config, tuple(kept))
    return {
        "command": "compare", "model": model.config.name, "weights": model.weights,
        "conventions": {
            "linear": "layers; the head on the last token only", "pairs": "causal, exact",
            "time": "median of the samples; linear and attention are timed apart",
            "realisation": "speed-up / reduction of useful FLOPs, over full attention",
            "quality": "one pass over the text (stride = length); mean KL(full || layout) over the tokens",
        },
        "records": str(path.resolve()), "report": str(report_path.resolve()),
        "rows": compared.rows(), "failures": list(compared.failures),
    }  # fmt: skip


def _announce(console: Console, planned: Sweep, path: Path) -> None:
    model, cells = planned.model, plan(planned)
    rate_flops = _matmul_flops_per_s(planned.dtype)
    # Warm-ups and samples, about.
    runs = {"linear": 2.5, "prefill": 2.5, "attention": 6.0, "quality": 1.2, "apart": 1.0}
    reached = 0.75  # of a lone product's rate by a whole prefill; all this is a guess, and is printed as one
    minutes = sum(runs[cell.kind] * cell.work_flops for cell in cells) / (reached * rate_flops) / 60
    console.print(
        f"{model.config.name} ({model.weights} weights), {model.config.n_layers} layers, "
        f"on {jax.devices()[0].device_kind}\n"
        f"layouts: {', '.join(planned.layouts)}\nlengths: {', '.join(f'{n:,}' for n in planned.lengths)} tokens"
        + (f"; quality over {planned.quality_tokens:,}" if planned.quality_tokens else "; no quality")
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


def _with_progress(planned: Sweep, path: Path, resume: bool):
    """The sweep's records, under a bar that counts FLOPs: the last cells take most of the time."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), TimeElapsedColumn()
    bar = Progress(*columns, transient=True, console=Console(stderr=True), disable=not is_watched())
    with bar as progress:
        task = progress.add_task("measuring", total=sum(cell.work_flops for cell in plan(planned)))
        yield from run_sweep(
            planned,
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
