"""`prefillwall lower`: compiles for a GPU that is not there, and says what the compiler made of it."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import Any

from eval.commands import cost_arguments as common
from eval.commands.arguments import positive
from eval.flops.traffic import Storage
from eval.hardware import card
from eval.lowering import report
from eval.lowering.compile import compile_for, keep
from eval.lowering.dtypes import DTYPES
from eval.lowering.kernel_programs import AttentionKernel, shipped_attention, shipped_experts
from eval.lowering.predict import Predicted, code_bounds, predict_prefill
from eval.lowering.programs import KINDS, ModelProgram, Program
from eval.lowering.target import TARGETS, Target, target
from eval.lowering.tile_search import every_tile, parse_tile, suggestion
from eval.lowering.toolchain import Toolchain, find_toolchain
from eval.roofline import Assumptions
from refmodel.config import ModelConfig

EPILOG = """examples:
  prefillwall lower --model qwen3-30b-a3b --layout '5*swa(1024)+full' --tokens 16384 --target gfx1201
  prefillwall lower --programs prefill decode quality training --tokens 1024 --keep out/lowered
  prefillwall lower --programs attention --tiles 64x64,4,1 128x64,8,1 128x128,8,2     try these tiles
  prefillwall lower --programs attention --head-dim 64 --tiles all                    the whole sweep, best first"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "lower", help="compile for a GPU that is not there: memory, registers, spills, LDS, WMMA, predicted time",
        description="Compiles the model and its kernels for a GPU that need not be there; nothing runs.  Exits with "
        "1 where a program does not compile or a kernel of this project spills, asks for too much LDS or misses WMMA.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    common.add_model(parser)
    common.add_layout(parser)
    parser.add_argument("--tokens", type=positive, default=16_384, metavar="N", help="default: %(default)s")
    parser.add_argument("--target", default="gfx1201", metavar="GPU", help=f"{', '.join(TARGETS)} (default: gfx1201)")
    parser.add_argument(
        "--programs", nargs="+", default=["prefill", "attention", "experts"], metavar="PROGRAM",
        help=f"steps: {', '.join(KINDS)}; kernels: attention, experts (default: prefill attention experts)",
    )  # fmt: skip
    parser.add_argument("--impl", default="auto", help="attention of the model: auto, dense, blockwise (default: auto)")
    parser.add_argument("--dtype", default="bf16", choices=tuple(DTYPES), help="default: %(default)s")
    parser.add_argument("--head-dim", type=positive, metavar="H", help="of the attention kernel (default: the model's)")
    parser.add_argument("--group", type=positive, metavar="G", help="query heads a key-value head (default: the same)")
    parser.add_argument("--tiles", nargs="+", metavar="TILE", help="of the attention kernel: 128x64,8,1 ... or all")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave HLO, LLVM IR and code objects there")
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    chosen, programs = target(options.target), _programs(options)
    toolchain = find_toolchain()
    results = [_lower(program, chosen, toolchain, options) for program in programs]
    if options.tiles:
        results.sort(key=_rank)
    sweeps = options.tiles == ["all"]
    hints = {} if sweeps else _hints(results, chosen, toolchain)
    predicted = _predictions(options, results, chosen)
    if options.json:
        common.print_json({
            "command": "lower", "target": chosen.name, "card": chosen.card, "toolchain": dict(toolchain.versions),
            "can_execute": toolchain.can_execute, "stand_ins": toolchain.missing, "evidence": toolchain.sentence,
            "programs": [result.to_json() for result in results], "suggestions": hints,
            "predictions": {layout: [one.to_json() for one in rows] for layout, rows in predicted.items()},
        })  # fmt: skip
    else:
        _print(toolchain, results, hints, predicted)
    return 0 if sweeps or all(result.passes for result in results) else 1


def _programs(options: argparse.Namespace) -> list[Program]:
    model = common.model_of(options)
    if not isinstance(model, ModelConfig):
        raise ValueError(f"{options.model} can be costed and not run, so it cannot be compiled")
    made: list[Program] = []
    for name in options.programs:
        if name == "attention":
            made += _attention_kernels(options, model)
        elif name == "experts":
            made.append(shipped_experts(options.target, options.tokens, options.dtype))
        else:
            made.append(ModelProgram(name, options.model, options.layout or "", options.tokens, options.dtype,
                                     options.impl))  # fmt: skip
    if options.tiles and not any(isinstance(program, AttentionKernel) for program in made):
        raise ValueError("--tiles are those of the attention kernel; add --programs attention")
    return made


def _attention_kernels(options: argparse.Namespace, model: ModelConfig) -> list[AttentionKernel]:
    head_dim, group = options.head_dim or model.head_dim, options.group or model.group_size
    like = shipped_attention(options.target, head_dim, group, options.dtype)
    if not options.tiles:
        return [like]
    return every_tile(like) if options.tiles == ["all"] else [parse_tile(word, like) for word in options.tiles]


def _lower(program: Program, chosen: Target, toolchain: Toolchain, options: argparse.Namespace) -> report.Result:
    compiled = compile_for(program, chosen, toolchain, keep_ir=options.keep is not None)
    if options.keep:
        keep(compiled, options.keep / re.sub(r"[^\w()*+.-]+", "-", program.title).strip("-"))
    return report.read_result(compiled)


def _rank(result: report.Result) -> tuple[Any, ...]:
    """Sound tiles first; among them those whose loop is most matrix work, then those that leave most waves."""
    loops = [kernel for kernel in result.kernels if kernel.loop and kernel.loop.matrix]
    best = max(loops, key=lambda kernel: kernel.loop.matrix, default=None)
    if best is None:
        return (2, 0, 0)
    return (0 if result.passes else 1, best.scratch_bytes, -best.loop.matrix_share, -best.waves)


def _hints(results: list[report.Result], chosen: Target, toolchain: Toolchain) -> dict[str, str]:
    """For each kernel that does not pass, the nearest smaller tile that does."""

    def passes(program: AttentionKernel) -> bool:
        return report.read_result(compile_for(program, chosen, toolchain)).passes

    hints = {}
    for result in results:
        program = result.compiled.program
        if isinstance(program, AttentionKernel) and not result.passes:
            found = suggestion(program, passes)
            hints[program.title] = f"try {found.tile_name}" if found else "no smaller tile passes"
    return hints


def _predictions(
    options: argparse.Namespace, results: list[report.Result], chosen: Target
) -> dict[str, list[Predicted]]:
    """Of each prefill that compiled, where measurements on the card were published."""
    made = {}
    for result in results:
        program = result.compiled.program
        if isinstance(program, ModelProgram) and program.kind == "prefill" and chosen.card == "r9700":
            bounds = code_bounds(result.kernels, chosen)
            for weights in ("bf16", report.QUANTISED):
                under = Assumptions(Storage(weights))
                title = f"{program.config.name} {program.layout or 'as it is'} {program.tokens:,} tokens, {weights}"
                made[title] = predict_prefill(program.config, program.tokens, card(chosen.card), under, bounds)
    return made


def _print(
    toolchain: Toolchain, results: list[report.Result], hints: dict[str, str], predicted: dict[str, list[Predicted]]
) -> None:
    out = common.console()
    out.print(report.compile_table(results).to_rich())
    for result in results:
        shown = [kernel for kernel in result.kernels if report.noteworthy(kernel)]
        if shown:
            table = dataclasses.replace(report.kernel_table(shown), title=result.compiled.program.title)
            out.print(table.to_rich())
    for title, rows in predicted.items():
        out.print(report.prediction_table(rows, f"Predicted prefill: {title}").to_rich())
        for line in report.evidence_lines(rows):
            out.print(line, highlight=False, soft_wrap=True)
    for line in (*report.sentences(toolchain, results), *(f"{name}: {hint}" for name, hint in hints.items())):
        out.print(line, highlight=False, soft_wrap=True)
