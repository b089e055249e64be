"""`prefillwall compare`: the main job."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from attention.backends.registry import impl_names
from eval.commands import arguments
from eval.commands.output import Console, is_watched
from eval.commands.report import draw, invocation, print_side_by_side
from eval.commands.resolve import runnable, say_cuts, say_drawn
from eval.measure import estimate
from eval.measure.again import KINDS
from eval.measure.comparison_run import ComparisonRequest, refuse_unfit, run_comparison
from eval.measure.default_sweep import GPU_LENGTHS, LAYOUTS, LENGTHS, QUALITY_TOKENS
from eval.measure.plan import Cell, Sweep
from eval.measure.progress import remarks
from eval.measure.records.schema import Record
from eval.measure.timing import MOST_SPREAD, Budget
from eval.report.comparison import Comparison
from eval.report.several import each_of
from refmodel.default_model import DEFAULT_MODEL

DESCRIPTION = "Measures each layout at each length, the quality it costs on a text, and writes a report."

EXAMPLES = (
    "prefillwall compare",
    "prefillwall compare --layouts full 'swa(512)' 'swa(508,sinks=4)' --tokens 1024 2048 4096",
    "prefillwall compare --model tiny-moe --layouts 'swa(16)' --tokens 64 128 --out out/tiny",
    "prefillwall compare --model tiny-moe --layouts 'swa(16)' --tokens 64 128 --out out/tiny --resume",
    "prefillwall compare --model tiny-moe --layouts 'swa(16)' --tokens 64 128 --out out/tiny --resume "
    "--again disturbed 'prefill swa(16) 128'",
    "prefillwall compare --model tiny-dense tiny-moe --batch 1 3 --layouts 'swa(16)' --tokens 64 128 --out out/several",
    "prefillwall compare --model qwen3-30b-a3b --device gpu --out out/gpu",
    "prefillwall compare --model qwen3-30b-a3b --device gpu --layers-apart --out out/apart",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, DEFAULT_MODEL, runs=True, several=True)
    arguments.add_layouts(parser, LAYOUTS)
    arguments.add_tokens(parser, None, f"{' '.join(map(str, LENGTHS))}; on a GPU {' '.join(map(str, GPU_LENGTHS))}")
    arguments.add_device(parser)
    arguments.add_impl(parser, impl_names())
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
    arguments.add_running_weights(parser)
    parser.add_argument(
        "--batch", nargs="+", type=arguments.positive, default=[1], metavar="N",
        help="prompts that are timed at once, successive stretches of the text; several for each model (default: 1)",
    )  # fmt: skip
    arguments.add_seed(parser)
    arguments.add_samples(parser)
    parser.add_argument("--out", type=Path, default=Path("out/compare"), help="folder (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="keep the records in --out and measure what is missing")
    parser.add_argument(
        "--again", nargs="+", metavar="CELL", default=(),
        help="with --resume: measure again also `disturbed`, all of a kind and length of which one's samples spread "
        f"by more than {100 * MOST_SPREAD:.0f} %%, or records by name, 'KIND LAYOUT TOKENS' as the run prints them, of "
        f"which LAYOUT and TOKENS may be left out; KIND is {', '.join(KINDS)}",
    )  # fmt: skip
    arguments.add_cards(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    console = Console(stderr=options.json)  # stdout is the record's then
    cards = arguments.floor_cards(options.card)
    asked = each_of(options.model, options.batch)
    text = None if options.text is None else arguments.read_text(options.text)
    requests = [_request(options, model, batch, text) for model, batch, _ in asked]
    if len(asked) == 1:
        return draw(_measured(requests[0], options.out, options, console), options.out, console, options, cards)
    for request in requests:
        refuse_unfit(request)  # of the last before the first is measured
    found, statuses = {}, []
    for request, (_, _, folder) in zip(requests, asked, strict=True):
        found[folder] = _measured(request, options.out / folder, options, console)
        statuses.append(draw(found[folder], options.out / folder, console, options, cards, alone=False))
    print_side_by_side(found, options.out, console, options)
    return max(statuses)


def _request(options: argparse.Namespace, model: str, batch: int, text: str | None) -> ComparisonRequest:
    return ComparisonRequest(
        model=runnable(model), layouts=options.layouts, tokens=options.tokens, quality_tokens=options.quality_tokens,
        text=text, text_name=options.text or "", impl=options.impl, device=options.device,
        dtype=options.dtype, seed=options.seed,
        layers_apart=options.layers_apart, weights=options.weights, budget=Budget.of(options.samples), batch=batch,
    )  # fmt: skip


def _measured(request: ComparisonRequest, folder: Path, options: argparse.Namespace, console: Console) -> Comparison:
    def on_plan(sweep: Sweep, cells: Sequence[Cell], path: Path) -> None:
        say_cuts(options.layouts or map(str, sweep.layouts), sweep.model.config.n_layers)
        say_drawn(sweep.layouts, sweep.model.config, trained=sweep.model.weights == "checkpoint")
        for remark in remarks(sweep):
            print(remark, file=sys.stderr)
        _announce(console, sweep, cells, path)

    measured = run_comparison(
        request,
        folder,
        resume=options.resume,
        again=options.again,
        watched=is_watched(),
        invocation=lambda _: invocation(options),
        on_plan=on_plan,
        on_record=lambda record: console.print(_line(record), highlight=False, soft_wrap=True),
    )
    return Comparison(measured.config, measured.records, measured.layouts)


def _announce(console: Console, planned: Sweep, cells: Sequence[Cell], path: Path) -> None:
    model = planned.model
    duration = estimate.in_words(cells, planned.dtype, planned.budget, extra_s=estimate.REPORT_S)
    spread, seconds = f"{100 * MOST_SPREAD:.0f} %", f"{planned.budget.again_s:g} s"
    again = f"again where samples spread by more than {spread}: at most {seconds} a kind and length\n"
    console.print(
        f"{model.config.name} ({model.weights_as_held} weights), {model.config.n_layers} layers, "
        f"on {jax.devices()[0].device_kind}\n"
        f"layouts: {', '.join(map(str, planned.layouts))}\n"
        f"lengths: {', '.join(f'{n:,}' for n in planned.lengths)} tokens"
        + (f", {planned.batch} prompts at once" if planned.batch > 1 else "")
        + (f"; quality over {planned.quality_tokens:,}" if planned.quality_tokens else "; no quality")
        + f"\n{duration}\n{again if cells else ''}records: {path}\n",
        highlight=False,
    )


def _line(record: Record) -> str:
    """One finished record, for the log."""
    place = f"{record.kind} {record.layout} {record.tokens}"
    if record.quality:
        return f"{place}: perplexity {record.quality.perplexity:.3f}, KL {record.quality.kl_nats:.4f} nats"
    if record.timing:
        taken = len(record.timing.samples_ms)
        return f"{place}: {record.timing.median_ms:,.1f} ms ({taken} sample{'s' * (taken > 1)})"
    return f"{place}: {record.status} ({record.error})"
