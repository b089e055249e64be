"""`prefillwall post`: the founding post's table and figure, recomputed, and what it says about flash attention."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from eval.commands import arguments, output
from eval.commands.resolve import under_layout
from eval.cost.cards import CARDS, Card, card
from eval.cost.crossover import crossover_tokens
from eval.cost.post import MODEL, PRINTED, exact_convention, input_differences, post_convention, rounding_faults, row
from eval.cost.roofline import Assumptions, floor_ms
from eval.cost.tiled_attention import FlashPoint, flash_point
from refmodel.presets import preset

LAYOUTS = ("full", "5*swa(1024)+full", "swa(1024)")
LENGTHS = (1024, 4096, 8192, 16_384)
FLASH_LENGTHS = (1024, 4096)
"""Two show the power of N; each point compiles a program, which is most of what this command takes."""

DESCRIPTION = "Prints the post's table beside the exact one, and draws its figure: a row a layout, a panel a length."

EXAMPLES = (
    "prefillwall post",
    "prefillwall post --layouts full '3*swa(4096)+full' --tokens 4096 65536 --figure out/squares.svg",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_layouts(parser, LAYOUTS)
    arguments.add_tokens(parser, LENGTHS)
    arguments.add_figure(parser, Path("out/post.png"))
    arguments.add_card(parser, "r9700")
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    from eval.report.post_figure import save_squares  # matplotlib takes a while to load

    one, model = card(options.card), preset(MODEL)
    rows = [under_layout(model, layout) for layout in options.layouts or LAYOUTS]
    save_squares(options.figure, rows, options.tokens)  # first: a path that cannot be written costs no waiting
    conventions = (post_convention(), exact_convention(one))
    record: dict[str, Any] = {
        "command": "post",
        "model": MODEL,
        "card": one.name,
        "conventions": [dataclasses.asdict(convention) for convention in conventions],
        "printed": [dataclasses.asdict(printed) for printed in PRINTED],
        "tables": [
            [dataclasses.asdict(r) | {"share": r.share} for r in (row(model, p.tokens, c) for p in PRINTED)]
            for c in conventions
        ],
        "rounding": rounding_faults(),
        "inputs": input_differences(one),
        "flash": [
            dataclasses.asdict(flash_point(model, n, impl))
            for impl in ("dense", "blockwise", "pallas")
            for n in FLASH_LENGTHS
        ],
        "matrix_units": _matrix_units(one),
        "figure": str(options.figure),
    }
    if options.json:
        output.print_json(record)
    else:
        _print(output.console(), record)
    return 0


def _matrix_units(one: Card) -> list[dict[str, Any]]:
    """The crossover of times: on cards of any speed, then with different efficiencies of the two parts."""
    model, peak = preset(MODEL), one.peak_flops_per_s()
    cases = [
        (other, 1.0, 1.0) for other in (one, *(CARDS[name] for name in ("h100-sxm", "mi300x") if name != one.name))
    ]
    linear, attention = (one.measured.get(name) for name in ("gemm_bf16_flops_per_s", "attention_flops_per_s"))
    if linear and attention:
        cases.append((one, linear.value / peak, attention.value / peak))
    return [
        {
            "card": other.name,
            "linear_efficiency": e_linear,
            "attention_efficiency": e_attention,
            "crossover_tokens": crossover_tokens(model, attention_cost=e_linear / e_attention),
            "ms_at_16384": sum(
                floor_ms(
                    model, 16_384, other, Assumptions(linear_efficiency=e_linear, attention_efficiency=e_attention)
                ).values()
            ),
        }
        for other, e_linear, e_attention in cases
    ]


def _print(out: output.Console, record: dict[str, Any]) -> None:
    for convention, table in zip(record["conventions"], record["tables"], strict=True):
        rate = f"{convention['flops_per_s'] / 1e12:.1f} TFLOPS"
        words = f"{convention['name']}: linear {convention['linear']}, pairs {convention['pairs']}, {rate}"
        rows = output.table(
            f"{record['model']}, {words}",
            "N",
            "linear FLOPs",
            "attention FLOPs",
            "linear ms",
            "attention ms",
            "share",
            "the post prints",
            left=0,
        )
        for one, printed in zip(table, record["printed"], strict=True):
            rows.add_row(
                f"{one['tokens']:,}",
                f"{one['linear_flops']:,}",
                f"{one['attention_flops']:,}",
                f"{one['linear_ms']:,.1f}",
                f"{one['attention_ms']:,.1f}",
                f"{one['share']:.1%}",
                f"{printed['linear_ms']} + {printed['attention_ms']} ms, {printed['share_percent']} %",
            )
        out.print(rows)
    out.print("[bold]where the post's rounding is loose[/bold]", *record["rounding"], sep="\n  ", highlight=False)
    out.print("[bold]where its inputs differ from the model[/bold]", *record["inputs"], sep="\n  ", highlight=False)
    _print_flash(out, [FlashPoint(**point) for point in record["flash"]])
    rows = output.table(
        "a faster matrix unit scales both terms; different efficiencies move the crossover",
        "card",
        "linear eff.",
        "attention eff.",
        "N* of times",
        "ms at 16,384",
    )
    for case in record["matrix_units"]:
        rows.add_row(
            case["card"],
            f"{case['linear_efficiency']:.2f}",
            f"{case['attention_efficiency']:.2f}",
            f"{case['crossover_tokens']:,}",
            f"{case['ms_at_16384']:,.1f}",
        )
    out.print(rows)
    out.print(f"figure: {record['figure']}", highlight=False)


def _print_flash(out: output.Console, points: list[FlashPoint]) -> None:
    rows = output.table(
        "one layer, bf16: the same useful FLOPs; tiles let temporaries grow as N, not as N²",
        "attention",
        "N",
        "useful FLOPs",
        "executed FLOPs",
        "temporary bytes",
        "bytes moved",
        "moved per token",
    )
    for point in points:
        figures = (
            point.tokens,
            point.useful_flops,
            point.executed_flops,
            point.temporary_bytes,
            point.moved_bytes,
            point.moved_bytes // point.tokens,
        )
        rows.add_row(point.impl, *(f"{figure:,}" for figure in figures))
    out.print(rows)
    out.print(f"[dim]{growth_sentence(points)}[/dim]", highlight=False, soft_wrap=True)


def growth_sentence(points: list[FlashPoint]) -> str:
    """How temporaries and bytes moved grow from the shortest to the longest length, and why the bytes grow as N²."""
    words = []
    for impl in dict.fromkeys(point.impl for point in points):
        first, *_, last = sorted((point for point in points if point.impl == impl), key=lambda point: point.tokens)
        grown = (last.temporary_bytes / first.temporary_bytes, last.moved_bytes / first.moved_bytes)
        words.append(f"{impl} {grown[0]:.1f}x and {grown[1]:.1f}x")
    return (
        f"from {first.tokens:,} to {last.tokens:,} tokens temporaries and bytes moved grow: {', '.join(words)}; each "
        "tile of queries reads the keys and values before it again (a cache may serve some of that), so that bytes "
        "moved keep a term in N², divided by the queries of a tile"
    )
