"""`prefillwall lower`: compiles for a GPU that is not there, and says what the compiler made of it."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attention.kernels.tiles import TRITON_HEAD_SIZES
from eval.commands import arguments, output
from eval.commands.arguments import positive
from eval.commands.resolve import running_config, under_layout
from eval.commands.storage import add_packed_weights
from eval.cost.prediction import Predicted, evidence_lines
from eval.lowering import report
from eval.lowering.compile import compile_for, keep
from eval.lowering.dtypes import DTYPES
from eval.lowering.kernel_programs import TiledKernel, attention_of, shipped_experts
from eval.lowering.predicted_prefills import predicted_prefills
from eval.lowering.programs import KINDS, ModelProgram, Program
from eval.lowering.run_here import is_here, time_here
from eval.lowering.target import TARGETS, Target, target
from eval.lowering.tile_search import every_tile, is_tile_of, parse_tile, suggestion
from eval.lowering.toolchain import Toolchain, find_toolchain
from eval.lowering.vendors import vendor_of
from eval.measure.timing import Timing
from eval.report.number_format import NOTHING, duration

DESCRIPTION = (
    "Compiles the model and its kernels for a GPU that need not be there; where it is, the same programs are\n"
    "also run and timed, and otherwise nothing runs.  Exits with 1 where\n"
    "a program does not compile or a kernel of this project spills, asks for too much LDS or misses WMMA\n"
    "(on NVIDIA, shared memory and tensor cores; a spill is a remark there); of `--tiles all` where no tile of a\n"
    "kernel passes."
)

EXAMPLES = (
    "prefillwall lower --model qwen3-30b-a3b --layout '5*swa(1024)+full' --tokens 16384 --target gfx1201",
    "prefillwall lower --programs prefill decode quality training --tokens 1024 --keep out/lowered",
    "prefillwall lower --programs prefill decode --weights int4 --tokens 65536    # does it fit 32 GB?",
    "prefillwall lower --programs attention --tiles 64x64,4,1 128x64,8,1 128x128,8,2    # try these tiles",
    "prefillwall lower --programs experts --tiles 128x128x32,8,1 64x64x64,4,1    # rows x columns x depth",
    "prefillwall lower --programs attention --head-dim 64 --tiles all    # the whole sweep, best first",
    "prefillwall lower --target sm_90 --keep out/h100    # an H100, with the PTX of each kernel",
)

KERNELS = ("attention", "experts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, "qwen3-30b-a3b", runs=False)
    arguments.add_layout(parser)
    arguments.add_one_length(parser, 16_384)
    parser.add_argument("--target", default="gfx1201", choices=tuple(TARGETS), help="GPU (default: %(default)s)")
    parser.add_argument(
        "--programs", nargs="+", default=["prefill", *KERNELS], choices=(*KINDS, *KERNELS), metavar="PROGRAM",
        help=f"steps: {', '.join(KINDS)}; kernels: {', '.join(KERNELS)} (default: prefill {' '.join(KERNELS)})",
    )  # fmt: skip
    arguments.add_impl(parser, ("auto", "dense", "blockwise", "pallas"))
    parser.add_argument(
        "--dtype", type=arguments.short_dtype, default="bf16", choices=tuple(DTYPES),
        help="of weights and activations (default: %(default)s)",
    )  # fmt: skip
    add_packed_weights(parser)
    parser.add_argument("--head-dim", type=positive, metavar="H", help="of the attention kernel (default: the model's)")
    parser.add_argument("--group", type=positive, metavar="G", help="query heads a key-value head (default: the same)")
    parser.add_argument(
        "--tiles", nargs="+", metavar="TILE",
        help="attention 128x64,8,1 (rows x keys, warps, stages), experts 128x128x32,8,1 (rows x columns x depth, "
        "warps, stages) ... or all",
    )  # fmt: skip
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave HLO, LLVM IR, code objects and assembly there"
    )
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    chosen = target(options.target)
    programs, toolchain = _programs(options, chosen), find_toolchain(vendor_of(chosen))
    results = [_lower(program, chosen, toolchain, options) for program in programs]
    if options.tiles:
        results.sort(key=_rank)
    sweeps = options.tiles == ["all"]
    hints = {} if sweeps else _hints(results, chosen, toolchain)
    predicted = predicted_prefills(results, chosen)
    here = toolchain.can_execute and is_here(chosen)
    measured = time_here(programs) if here else {}
    if options.json:
        output.print_json({
            "command": "lower", "target": chosen.name, "card": chosen.card, "toolchain": dict(toolchain.versions),
            "conventions": {
                "evidence": "the compiler's own figures, and predictions from published measurements; "
                + ("`measured` ran on this machine" if here else "nothing ran"),
                "passes": "LDS within a workgroup's, WMMA in the inner loop, on AMD no spills",
            },
            "can_execute": toolchain.can_execute, "stand_ins": toolchain.missing, "evidence": toolchain.sentence,
            "programs": [result.to_json() for result in results], "suggestions": hints,
            "measured": {title: asdict(timing) if isinstance(timing, Timing) else {"error": timing}
                         for title, timing in measured.items()},
            "predictions": {layout: [one.to_json() for one in rows] for layout, rows in predicted.items()},
        })  # fmt: skip
    else:
        _print(options, toolchain, results, hints, predicted)
        if here:
            print_measured(measured, chosen.name)
    return _status(results, sweeps)


def _status(results: list[report.Result], sweeps: bool) -> int:
    """0 where all pass; of a sweep's tiles one for each kernel is enough."""
    passes: dict[str, list[bool]] = {}
    for result in results:
        passes.setdefault(report.shapes_of(result) if sweeps else result.compiled.program.title, []).append(
            result.passes
        )
    return 0 if all(any(one) for one in passes.values()) else 1


def _programs(options: argparse.Namespace, chosen: Target) -> list[Program]:
    if options.head_dim and options.head_dim not in TRITON_HEAD_SIZES:
        raise ValueError(f"--head-dim {options.head_dim}; accepted: {', '.join(map(str, TRITON_HEAD_SIZES))}")
    model = running_config(options.model)
    if options.layout is not None:
        model = under_layout(model, options.layout)
    impl = vendor_of(chosen).attention if options.impl == "auto" else options.impl
    made: list[Program] = []
    for name in options.programs:
        if name == "attention":
            made.append(attention_of(model, chosen.name, options.dtype, options.head_dim, options.group))
        elif name == "experts":
            made.append(shipped_experts(chosen.name, options.tokens, options.dtype, options.weights or ""))
        else:
            made.append(ModelProgram(
                name, options.model, options.layout or "", options.tokens, options.dtype, impl, options.weights or ""
            ))  # fmt: skip
    return _in_tiles(made, options.tiles, chosen) if options.tiles else made


def _in_tiles(programs: list[Program], words: list[str], chosen: Target) -> list[Program]:
    """Each kernel in the tiles that are written for it, or in all; other programs as they are."""
    kernels = [program for program in programs if isinstance(program, TiledKernel)]
    if not kernels:
        raise ValueError("--tiles are those of the kernels; add --programs attention, experts or both")
    made = [program for program in programs if program not in kernels]
    for program in kernels:
        if words == ["all"]:
            made += every_tile(program, chosen.name)
        else:
            made += [parse_tile(word, program) for word in words if is_tile_of(word, program)] or [program]
    for word in words:
        if words != ["all"] and not any(is_tile_of(word, program) for program in kernels):
            parse_tile(word, kernels[0])  # says what is accepted
    return made


def _lower(program: Program, chosen: Target, toolchain: Toolchain, options: argparse.Namespace) -> report.Result:
    compiled = compile_for(program, chosen, toolchain, keep_ir=options.keep is not None)
    if options.keep:
        keep(compiled, options.keep / re.sub(r"[^\w()*+.-]+", "-", program.title).strip("-"))
    return report.read_result(compiled)


def _rank(result: report.Result) -> tuple[Any, ...]:
    """A kernel's sound tiles first; among them those whose loop is most matrix work, then those that leave most waves.

    Of several GPU kernels of a program the worst counts.
    """
    program = result.compiled.program
    if isinstance(program, ModelProgram):
        return ("",)
    kernels = [kernel for kernel in report.own_kernels(result) if kernel.loop and kernel.loop.matrix]
    if not kernels:
        return (program.component, 2)
    return (
        program.component, 0 if result.passes else 1, max(kernel.scratch_bytes for kernel in kernels),
        -min(kernel.loop.matrix_share for kernel in kernels if kernel.loop), -min(kernel.waves for kernel in kernels),
    )  # fmt: skip


def _hints(results: list[report.Result], chosen: Target, toolchain: Toolchain) -> dict[str, str]:
    """For each kernel that does not pass, the nearest smaller tile that does."""

    def passes(program: TiledKernel) -> bool:
        return report.read_result(compile_for(program, chosen, toolchain)).passes

    hints = {}
    for result in results:
        program = result.compiled.program
        if isinstance(program, TiledKernel) and not result.passes:
            found = suggestion(program, passes)
            hints[program.title] = f"try {found.tile_name}" if found else "no smaller tile passes"
    return hints


def _print(
    options: argparse.Namespace, toolchain: Toolchain, results: list[report.Result], hints: dict[str, str],
    predicted: dict[str, list[Predicted]],
) -> None:  # fmt: skip
    out, chosen = output.console(), target(options.target)
    swept = [result for result in results if options.tiles and isinstance(result.compiled.program, TiledKernel)]
    plain = [result for result in results if result not in swept]
    if plain:
        out.print(report.compile_table(plain))
    for result in plain:
        shown = [kernel for kernel in result.kernels if report.noteworthy(kernel)]
        if shown:
            out.print(report.kernel_table(shown, chosen, result.compiled.program.title))
    for shapes, tiles in itertools.groupby(swept, report.shapes_of):
        out.print(report.tile_table(tiles, chosen, shapes))
    for title, rows in predicted.items():
        out.print(report.prediction_table(rows, f"Predicted prefill: {title}"))
        for line in evidence_lines(rows):
            out.print(line, highlight=False, soft_wrap=True)
    for line in (*report.sentences(toolchain, results), *(f"{name}: {hint}" for name, hint in hints.items())):
        out.print(line, highlight=False, soft_wrap=True)


def print_measured(timings: Mapping[str, Timing | str], name: str) -> None:
    """Median, fastest and slowest run of each program, or why it did not run."""
    rows = output.table(f"measured on this machine's {name}", "program", "median", "fastest", "slowest", "why not")
    for title, timing in timings.items():
        if isinstance(timing, str):
            rows.add_row(title, *[NOTHING] * 3, timing)
        else:
            figures = timing.median_ms, min(timing.samples_ms), max(timing.samples_ms)
            rows.add_row(title, *map(duration, figures), "")
    output.console().print(rows)
