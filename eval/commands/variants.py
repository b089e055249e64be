"""`prefillwall variants`: every attention variant, drawn, with what it costs against the length of the prompt."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from attention.cost import Heads
from attention.layout import parse_variant, signature
from attention.registry import VARIANTS
from attention.variant import Variant
from eval.commands import cost_arguments as common
from eval.commands.arguments import positive
from eval.humane import count, percent
from eval.pattern_pictures import save_pictures, terminal_picture
from eval.visibility import seen_keys
from refmodel.presets import preset

LENGTHS = (1024, 4096, 16_384, 65_536)
PICTURE_TOKENS = 32

EPILOG = """examples:
  prefillwall variants
  prefillwall variants 'swa(8,sinks=2)' 'evict(h2o,budget=8,chunk=4)' --draw 48
  prefillwall variants 'routed(256|2048|full,router=periodic)' 'moba(512)' --draw 0 --tokens 8192 65536
  prefillwall variants --png out/variants.png"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "variants", help="attention variants: their parameters, who sees whom, and what that costs",
        description="Draws each variant (queries downwards, keys to the right) and counts its pairs.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="spellings (default: an example of each)")
    parser.add_argument("--model", default="qwen3-30b-a3b", help="whose heads are counted (default: %(default)s)")
    parser.add_argument(
        "--tokens", nargs="+", type=positive, default=list(LENGTHS), metavar="N",
        help=f"prompt lengths (default: {' '.join(map(str, LENGTHS))})",
    )  # fmt: skip
    parser.add_argument(
        "--draw", type=int, default=PICTURE_TOKENS, metavar="T", help="tokens in a picture, 0 for none (default: 32)"
    )
    parser.add_argument("--png", type=Path, metavar="FILE", help="also draw all of them into a PNG")
    common.add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    variants = [parse_variant(text) for text in options.variants or [v.example for v in VARIANTS.values()]]
    heads = preset(options.model).heads
    for variant in variants:
        variant.check(heads)
    rows = [_row(variant, heads, tuple(options.tokens)) for variant in variants]
    size = options.draw or PICTURE_TOKENS
    drawn = options.png or (options.draw and not options.json)
    pictures = {str(v): seen_keys(v, size, **_picture_heads(v))[0] for v in variants} if drawn else {}
    if options.png:
        save_pictures(options.png, pictures)
    if options.json:
        conventions = {"pairs": "causal, exact, all query heads of one layer", "model": options.model}
        common.print_json({"command": "variants", "conventions": conventions, "variants": rows})
        return 0
    out = common.console()
    if not options.variants:
        out.print("accepted:\n" + "\n".join(f"  {signature(v)}" for v in VARIANTS.values()), highlight=False)
    for row in rows:
        out.print(f"\n[bold]{row['variant']}[/bold]  {row['description']}", highlight=False)
        if options.draw:
            out.print(terminal_picture(pictures[row["variant"]]), highlight=False, markup=False)
    out.print()
    out.print(_table(rows, options))
    return 0


def _row(variant: Variant, heads: Heads, lengths: tuple[int, ...]) -> dict[str, Any]:
    costs, full = [], parse_variant("full")
    for tokens in lengths:
        fixed = variant.at_length(tokens)
        useful = fixed.useful(heads, tokens)
        costs.append(
            {
                "tokens": tokens,
                "pairs": useful.pairs,
                "share_of_full": useful.pairs / full.useful(heads, tokens).pairs,
                "selection_flops": useful.selection_flops,
                "cache_tokens": fixed.cache_tokens(tokens),
            }
        )
    description = (type(variant).__doc__ or "").split("\n")[0].partition(": ")[2]
    return {"variant": str(variant), "description": description, "assumption": variant.assumption, "costs": costs}


def _picture_heads(variant: Variant) -> dict[str, int]:
    """As few heads as the variant speaks of."""
    n = len(variant.at_length(1).pattern().span) if variant.has_only_a_pattern else 1
    return {"n_heads": n, "n_kv_heads": 1}


def _table(rows: list[dict[str, Any]], options: argparse.Namespace) -> Any:
    header = [f"{count(tokens)}\npairs, cache" for tokens in options.tokens]
    table = common.table(
        f"one layer of {options.model}: pairs against full attention's, cache slots", "variant", *header
    )
    for row in rows:
        cells = [f"{percent(cost['share_of_full'])}  {count(cost['cache_tokens'])}" for cost in row["costs"]]
        table.add_row(row["variant"], *cells)
    return table
