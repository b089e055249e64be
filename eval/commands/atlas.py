"""`prefillwall atlas`: where the wall stands for every model that is known."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.commands import arguments, output
from eval.commands.resolve import shape_named
from eval.commands.storage import add_storage
from eval.cost.atlas import CACHE_TOKENS, Place, place
from eval.cost.cards import Card
from eval.cost.flops.bits import BITS
from eval.cost.flops.formats import Storage, weights_record
from refmodel.presets import PRESETS

if TYPE_CHECKING:
    from eval.report.atlas_measured import Measured

BASE = "qwen3-30b-a3b"
OUT = Path("out/atlas")

DESCRIPTION = "Where attention overtakes the linear layers, for every known model: by FLOPs, by roofline, on one card."

EXAMPLES = (
    "prefillwall atlas",
    "prefillwall atlas --card h100-sxm --weights bf16 --figure out/atlas.html",
    "prefillwall atlas --weights 'int4(128)' --kv 8bit --models qwen3-30b-a3b gemma3-27b llama3-8b",
    "prefillwall atlas --measure --models tiny-dense tiny-moe --tokens 64 128 256",
    "prefillwall atlas --models qwen3.5-35b-a3b gemma4-26b-a4b gpt-oss-20b --base gpt-oss-20b --json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models", nargs="+", metavar="MODEL",
        help="names that `prefillwall models` lists, folders, GGUF files or Hub ids (default: all but the tiny ones)",
    )  # fmt: skip
    parser.add_argument(
        "--base",
        default=BASE,
        metavar="MODEL",
        help="whose whole prompts others are compared with (default: %(default)s)",
    )
    add_storage(parser, weights="4.5bit")
    arguments.add_card(parser, "r9700")
    parser.add_argument(
        "--measure", action="store_true",
        help="also build each model that fits the device, with random weights, and time it",
    )  # fmt: skip
    arguments.add_tokens(parser, None, "those of `prefillwall compare`; of --measure")
    arguments.add_device(parser)
    arguments.add_dtype(parser)
    arguments.add_samples(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"folder (default: {OUT}); of --measure")
    parser.add_argument("--resume", action="store_true", help="keep the records in --out and measure what is missing")
    arguments.add_figure(parser, None, (*arguments.PICTURES, ".html"))
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    (one,) = arguments.floor_cards([options.card])
    _refuse_what_measures(options)
    base, storage = shape_named(options.base), Storage(options.weights, options.kv)
    names = options.models or [name for name in PRESETS if not name.startswith("tiny")]
    places = [place(shape_named(name), base, one, storage) for name in names]
    rows = [HEADER, *(_row(found) for found in places)]
    if options.figure:
        from eval.report.atlas_figure import save_atlas  # matplotlib takes a while to load

        save_atlas(options.figure, places, rows)
    measured = [_measured(options, found) for found in places] if options.measure else []
    if options.json:
        output.print_json(_record(options, one, places, measured))
        return 0
    _print(options, one, places)
    if measured:
        _print_measured(measured)
    return 0


def _refuse_what_measures(options: argparse.Namespace) -> None:
    """Raises `ValueError` for what only `--measure` takes, without it; with it, for a device and a folder that are none
    before the first model is built."""
    if options.measure:
        from eval.measure.device import open_device
        from eval.measure.records.file import refuse_place

        if options.weights not in BITS:
            raise ValueError(f"--measure draws weights that are not packed: leave out --weights {options.weights}")
        open_device(options.device)
        refuse_place(options.out or OUT)
        return
    for name in ("tokens", "device", "dtype", "samples", "out", "resume"):
        if getattr(options, name):
            raise ValueError(f"--{name} is of --measure: give that too, or leave it out")


def _measured(options: argparse.Namespace, found: Place) -> Measured:
    from eval.report.atlas_measured import measured_place  # imports what times

    name = found.model.name
    print(f"measuring {name}", file=sys.stderr, flush=True)
    return measured_place(
        found.model, found.crossings.first, (options.out or OUT) / name, options.tokens, device=options.device,
        dtype=options.dtype, samples=options.samples, resume=options.resume,
    )  # fmt: skip


HEADER = (
    "model", "GFLOP per token", "N*", "share tends to", "N* by roofline", "cheaper than the base",
    f"cache of {CACHE_TOKENS:,}", "fits up to",
)  # fmt: skip


def _row(found: Place) -> tuple[str, ...]:
    crossed = found.crossings
    return (
        found.model.name,
        f"{found.linear_flops_per_token / 1e9:.3f}",
        _tokens(crossed.first, "none" if crossed.searched_tokens is None else f"> {crossed.searched_tokens:,}"),
        f"{found.limiting_share:.1%}",
        _tokens(found.roofline_tokens, "none"),
        _cheaper(found),
        f"{found.cache_bytes / 1e9:.2f} GB",
        output.longest_fit(found.fits_tokens),
    )


def _tokens(count: int | None, without: str) -> str:
    return without if count is None else f"{count:,}"


def _cheaper(found: Place) -> str:
    """From which prompt on, or up to which."""
    changes = found.cheaper_than_base
    if not changes.at:
        return "never"
    if changes.at == (1,):
        return "always"
    return f"from {changes.stays_from:,}" if changes.stays_from else f"at {', '.join(f'{n:,}' for n in changes.at)}"


def _record(
    options: argparse.Namespace, one: Card, places: Sequence[Place], measured: Sequence[Measured]
) -> dict[str, Any]:
    return {
        "command": "atlas",
        "conventions": {"linear": "layers", "pairs": "causal", "count": "useful", "roofline": "floor"},
        "base": options.base,
        "card": one.name,
        "weights": options.weights,
        "kv": options.kv,
        "models": [
            {
                "model": found.model.name,
                "linear_flops_per_token": found.linear_flops_per_token,
                "crossover_tokens": found.crossings.first,
                "limiting_share": found.limiting_share,
                "roofline_crossover_tokens": found.roofline_tokens,
                "cheaper_than_base_at": list(found.cheaper_than_base.at),
                "cache_bytes": found.cache_bytes,
                "cache_tokens": CACHE_TOKENS,
                "weights": weights_record(found.model, options.weights),
                "longest_fit_tokens": found.fits_tokens,
                "runs": not found.model.cannot_run,
            }
            for found in places
        ],
        "measured": [
            {
                "model": each.model,
                "crossover_tokens": each.counted_tokens,
                "measured_tokens": each.timed and each.timed.tokens,
                "measured_interval": each.timed and [each.timed.low, each.timed.high],
                "error": each.error,
                "reason": each.reason,
            }
            for each in measured
        ],
        "figure": str(options.figure) if options.figure else None,
    }


def _print_measured(measured: Sequence[Measured]) -> None:
    out = output.console()
    table = output.table(
        "measured here: random weights, own layout", "model", "N* by FLOPs", "N* of times", "90 %", "off"
    )
    for each in measured:
        cells = ["none", "", ""]
        if each.timed and each.timed.tokens and each.timed.low and each.timed.high:
            off = "" if each.error is None else f"{each.error:+.0%}"
            cells = [f"{each.timed.tokens:,.0f}", f"{each.timed.low:,.0f} to {each.timed.high:,.0f}", off]
        table.add_row(each.model, _tokens(each.counted_tokens, "none"), *cells)
    out.print(table)
    for each in measured:
        if each.reason:
            out.print(f"[dim]{each.model}: {each.reason}[/dim]", highlight=False)


def _print(options: argparse.Namespace, one: Card, places: Sequence[Place]) -> None:
    from eval.report.atlas_strip import LENGTHS, SHADES, strip

    out = output.console()
    table = output.table(
        f"{one.title}: weights {options.weights}, cache {options.kv}, base {options.base}", *HEADER, "1k to 1M"
    )
    for found in places:
        table.add_row(*_row(found), strip(found.model))
    out.print(table)
    out.print(
        f"[dim]1k to 1M: attention's share of the FLOPs at {LENGTHS[0]:,}, twice as many, ... {LENGTHS[-1]:,} tokens: "
        f"below 10, 25, 50 and 75 %, and above: {SHADES}. N* by roofline: where attention's least time exceeds "
        "that of the linear layers. Fits: weights and cache, no temporaries.[/dim]",
        highlight=False,
    )  # fmt: skip
    if options.figure:
        out.print(f"figure: {options.figure}", highlight=False)
