"""`prefillwall variants`: every attention variant, drawn, with what it costs against the length of the prompt."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from attention.block_rules import BLOCK_RULES
from attention.call import signature
from attention.cost import Heads
from attention.eviction.registry import POLICIES
from attention.layout import parse_variant
from attention.mixer import Mixer
from attention.parameters import Part
from attention.registry import Registry
from attention.routers import ROUTERS
from attention.variants import VARIANTS
from eval.commands import arguments, output
from eval.commands.resolve import shape_named
from eval.report.number_format import count, percent
from eval.report.pattern_pictures import save_pictures, terminal_picture
from eval.testing.visibility import seen_keys

REGISTRIES: Final[Mapping[str, Registry[Any]]] = MappingProxyType(
    {"variants": VARIANTS, "policies": POLICIES, "routers": ROUTERS, "block rules": BLOCK_RULES}
)

LENGTHS = (1024, 4096, 16_384, 65_536)
PICTURE_TOKENS = 32

DESCRIPTION = (
    "Draws each variant (queries downwards, keys to the right, heads that differ side by side) and counts its pairs."
)

EXAMPLES = (
    "prefillwall variants",
    "prefillwall variants 'swa(8,sinks=2)' 'evict(h2o,budget=8,chunk=4)' --draw 48",
    "prefillwall variants 'routed(256|2048|full,router=periodic)' 'moba(512)' --draw 0 --tokens 8192 65536",
    "prefillwall variants 'swa(1024)' --draw 0 --model gemma3-27b",
    "prefillwall variants --figure out/variants.png",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="spellings (default: an example of each)")
    arguments.add_model(parser, "qwen3-30b-a3b", runs=False)
    arguments.add_tokens(parser, LENGTHS)
    parser.add_argument(
        "--draw", type=arguments.from_zero, default=PICTURE_TOKENS, metavar="T",
        help="tokens in a picture, 0 for none (default: %(default)s)",
    )  # fmt: skip
    arguments.add_figure(parser, None, (".png",))
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    variants = [parse_variant(text) for text in options.variants or examples()]
    shape = shape_named(options.model)
    heads = next(layer.heads for layer in shape.layers if layer.mixer)
    for variant in variants:
        variant.check(heads)
    rows = [_row(variant, heads, tuple(options.tokens)) for variant in variants]
    size = options.draw or PICTURE_TOKENS
    drawn = options.figure or (options.draw and not options.json)
    pictures = {str(v): seen_keys(v, size, **_picture_heads(v)) for v in variants} if drawn else {}
    if options.figure:
        save_pictures(options.figure, pictures)
    if options.json:
        conventions = {"pairs": "causal, exact, all query heads of the first layer that attends", "model": shape.name}
        named = {what: [_named(one) for one in registry.values()] for what, registry in REGISTRIES.items()}
        output.print_json({"command": "variants", "conventions": conventions, "variants": rows, "names": named})
        return 0
    out = output.console()
    if not options.variants:
        for what, registry in REGISTRIES.items():
            listed = output.table("", what, "what it is", "arXiv", left=3)
            for one in map(_named, registry.values()):
                listed.add_row(one["signature"], one["description"], ", ".join(one["papers"]))
            out.print(listed, "", highlight=False, markup=False)
    for row in rows:
        out.print(f"\n[bold]{row['variant']}[/bold]  {row['description']}", highlight=False)
        if options.draw:
            out.print(terminal_picture(pictures[row["variant"]]), highlight=False, markup=False)
    out.print()
    out.print(_table(rows, options))
    return 0


def _named(kind: type[Mixer] | type[Part]) -> dict[str, Any]:
    """What a layout may name: with its parameters and their defaults, and the papers that its docstrings cite."""
    said = f"{_doc_of_file(kind)} {vars(kind).get('__doc__') or ''}"
    return {
        "name": kind.name, "signature": signature(kind), "description": _what_it_is(kind),
        "papers": list(dict.fromkeys(re.findall(r"\b\d{4}\.\d{5}\b", said))),
    }  # fmt: skip


def _what_it_is(kind: type) -> str:
    """The first line of its docstring, behind its name, without its paper; of a policy the first line of its file."""
    own = (vars(kind).get("__doc__") or "").split("\n")[0]
    said = own.partition(": ")[2] if own.startswith("`") else _doc_of_file(kind).split("\n")[0]
    return re.sub(r" \([^()]*\d{4}\.\d{5}[^()]*\)", "", said).rstrip(".")


def _doc_of_file(kind: type) -> str:
    """The docstring of the module that a class is from; empty where there is none, as of a cell."""
    return getattr(sys.modules.get(kind.__module__), "__doc__", None) or ""


def examples() -> list[str]:
    """A spelling of each registered variant that has one to show."""
    return [variant.example for variant in VARIANTS.values() if hasattr(variant, "example")]


def _row(variant: Mixer, heads: Heads, lengths: tuple[int, ...]) -> dict[str, Any]:
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
                "flops": useful.flops(heads),
                "flops_of_full": useful.flops(heads) / full.useful(heads, tokens).flops(heads),
                "state_values": fixed.state_values(heads),
            }
        )
    return {
        "variant": str(variant),
        "description": _what_it_is(type(variant)),
        "assumption": variant.assumption,
        "costs": costs,
    }


def _picture_heads(variant: Mixer) -> dict[str, int]:
    """As few heads as the variant speaks of; two, where heads choose for themselves."""
    if not variant.has_only_a_pattern:
        return {"n_heads": 2, "n_kv_heads": 2}
    return {"n_heads": len(variant.at_length(1).pattern().span), "n_kv_heads": 1}


def _table(rows: list[dict[str, Any]], options: argparse.Namespace) -> Any:
    header = [f"{count(tokens)}\npairs, cache" for tokens in options.tokens]
    table = output.table(
        f"one layer of {options.model}: pairs against full attention's, cache slots", "variant", *header
    )
    for row in rows:
        table.add_row(row["variant"], *map(_cell, row["costs"]))
    return table


def _cell(cost: dict[str, Any]) -> str:
    """Pairs and slots; of a recurrent state, which has neither, FLOPs and values."""
    if cost["state_values"]:
        return f"{percent(cost['flops_of_full'])} of FLOPs, a state of {count(cost['state_values'])}"
    return f"{percent(cost['share_of_full'])}  {count(cost['cache_tokens'])}"
