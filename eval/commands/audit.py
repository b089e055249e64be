"""`prefillwall audit`: what holds of a variant, yours too, before anybody rests on its numbers."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from attention.backends.registry import impl_names
from attention.layout import mixers_named
from attention.mixer import Mixer
from eval.commands import arguments, output
from eval.commands.resolve import shape_named
from eval.commands.variants import examples
from eval.measure.progress import progress_bar
from eval.testing.variant_audit import CHECKS, Audit, audit
from eval.testing.variant_case import HEADS

DESCRIPTION = (
    "Runs one layer of each variant on random operands and says whether it is causal, the same where nothing follows, "
    "the same in one step, in chunks and token by token, and counted as it runs."
)

EXAMPLES = (
    "prefillwall audit",
    "prefillwall audit --layouts '5*swa(61)+full' 'evict(h2o,budget=64,chunk=32)'",
    "prefillwall audit --layouts 'swa(61)' --model qwen3-0.6b --impl dense",
    "prefillwall audit --plugin wedge.py --layouts 'wedge(16)' --tokens 229",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_layouts(parser, ("an example of each variant",))
    parser.add_argument("--model", metavar="MODEL", help="whose heads to take (default: few and small ones)")
    parser.add_argument(
        "--tokens", type=arguments.positive, metavar="N",
        help="prompt length, 8k is 8192 (default: the first of some at which the variant leaves something out)",
    )  # fmt: skip
    arguments.add_impl(parser, impl_names())
    arguments.add_seed(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    heads = HEADS
    if options.model:
        heads = next(layer.heads for layer in shape_named(options.model).layers if layer.mixer)
    variants = _variants(options.layouts or examples())
    for variant in variants:  # before the first of them takes its time
        variant.check(heads)
    found = []
    with progress_bar(watched=output.is_watched()) as bar:
        task = bar.add_task("auditing", total=len(variants))
        for variant in variants:
            bar.update(task, description=str(variant))
            start = time.perf_counter()
            found.append(audit(variant, tokens=options.tokens, heads=heads, seed=options.seed, impl=options.impl))
            bar.advance(task)
            print(f"{variant}: {found[-1].status} ({time.perf_counter() - start:.0f} s)", file=sys.stderr, flush=True)
    if options.json:
        conventions = {"layer": f"one, {heads}", "impl": options.impl, "seed": options.seed}
        output.print_json({"command": "audit", "conventions": conventions, "variants": [_record(one) for one in found]})
    else:
        _print(found)
    return int(not all(one.holds for one in found))


def _variants(layouts: Sequence[str]) -> list[Mixer]:
    """Each once, whichever layouts it stands in; of a .json file those of its layers."""
    return list(dict.fromkeys(variant for layout in layouts for variant in mixers_named(layout)))


def _record(one: Audit) -> dict[str, Any]:
    verdicts = {name: {"status": verdict.status, "why": verdict.why} for name, verdict in one.verdicts.items()}
    return {"variant": str(one.variant), "tokens": one.tokens, "sees_all": one.sees_all, "verdicts": verdicts}


def _print(found: Sequence[Audit]) -> None:
    out = output.console()
    table = output.table("", "variant", *CHECKS, "tokens", left=1 + len(CHECKS))
    for one in found:
        words = ("-" if verdict.status == "does not apply" else verdict.status for verdict in one.verdicts.values())
        table.add_row(str(one.variant), *words, f"{one.tokens:,}" + " (sees all)" * one.sees_all)
    out.print(table, highlight=False)
    for one in found:
        for name, verdict in one.verdicts.items():
            if verdict.why:
                out.print(f"{one.variant}, {name} {verdict.status}: {verdict.why}", highlight=False, markup=False)
