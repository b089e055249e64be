"""`prefillwall crossover`: from which length on attention costs more than all linear layers."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from typing import Any, get_args

from attention.full import FULL
from eval.commands import arguments, output
from eval.commands.crossover_card import add_card_arguments, asked_of_card
from eval.commands.resolve import shape_named, under_layout
from eval.cost.break_even import break_evens, speed_up_limit
from eval.cost.crossover import Linear, Pairs, attention_share, crossings, limiting_share, linear_params
from eval.cost.fitting_layouts import fitting_layouts
from eval.cost.second_crossover import choosing_overtakes
from eval.cost.sign_changes import SignChanges, in_words
from refmodel.specification import ModelConfig

DESCRIPTION = (
    "The exact prompt length at which attention overtakes the linear layers, or the share it tends to.  That counts\n"
    "FLOPs, which no format of weights changes; with --card also the length by time, as a roofline predicts it."
)

EXAMPLES = (
    "prefillwall crossover",
    "prefillwall crossover --layouts full '5*swa(1024)+full' --convention active-headline --pairs half-square",
    "prefillwall crossover --model gemma3-27b --layouts own",
    "prefillwall crossover --card r9700 --weights int4 --attention-dtype fp8    # also by time, and what fits",
    "prefillwall crossover --card h200 --weights fp8 --products fp8 --layouts full '5*swa(1024)+full' --json",
)

LAYOUTS = (
    "full",
    "full+swa(4096)",
    "full+swa(128)",
    "5*swa(4096)+full",
    "3*swa(1024)+full",
    "5*swa(1024)+full",
    "swa(4096)",
    "swa(1024)",
)
SHARES = (1024, 4096, 16_384, 65_536, 262_144)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, "qwen3-30b-a3b", runs=False)
    arguments.add_layouts(parser, LAYOUTS, also=", or 'own' for the model's; each is compared with full")
    arguments.add_tokens(parser, SHARES)
    parser.add_argument(
        "--convention", default="layers", choices=get_args(Linear), help="what counts as linear (default: %(default)s)"
    )
    parser.add_argument(
        "--pairs", default="causal", choices=get_args(Pairs),
        help="causal (exact), half-square (N²/2) or square (masked pairs too) (default: %(default)s)",
    )  # fmt: skip
    add_card_arguments(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    of_card, base = asked_of_card(options), shape_named(options.model)
    layouts = options.layouts or (_that_fit(base) if len(set(base.layout)) == 1 else ("own",))
    full = base.with_layout(FULL)
    models = [base if layout == "own" else under_layout(base, layout) for layout in layouts]
    record = {
        "command": "crossover",
        "model": base.name,
        "conventions": {"linear": options.convention, "pairs": options.pairs, "count": "useful"},
        "linear_params_per_token": linear_params(base, options.convention),
        "layouts": [_one(model, full, options) for model in models],
    }
    if of_card:
        from eval.commands.crossover_time import add_times, print_times  # FLOPs alone need nothing of cards and codings

        add_times(record, models, options.card, of_card)
    if options.json:
        output.print_json(record)
        return 0
    _print(record)
    if of_card:
        print_times(record)
    return 0


def _that_fit(base: ModelConfig) -> tuple[str, ...]:
    """The usual layouts that the model can have; says on stderr which it cannot."""
    fitting, left_out = fitting_layouts(base, LAYOUTS)
    if left_out:
        print(f"left out: {', '.join(left_out)} (not for the heads of {base.name})", file=sys.stderr)
    return tuple(fitting)


def _one(model: ModelConfig, full: ModelConfig, options: argparse.Namespace) -> dict[str, Any]:
    conventions = (options.convention, options.pairs)
    crossed, cheaper = crossings(model, *conventions), break_evens(full, model)
    limit = speed_up_limit(full, model)
    return {
        "layout": model.layout_name,
        "layout_summary": model.layout_summary,
        "crossover_tokens": crossed.first,
        "crossings": _as_record(crossed),
        "limiting_share": limiting_share(model, *conventions),
        "cheaper_than_full_from_tokens": cheaper.stays_from,
        "cheaper_than_full": _as_record(cheaper),
        "flops_cap": float(limit) if limit is not None and limit < math.inf else None,
        "flops_cap_known": limit is not None,
        "choosing_overtakes_tokens": choosing_overtakes(model),
        "attention_share": {n: attention_share(model, n, *conventions) for n in options.tokens},
    }


def _as_record(found: SignChanges) -> dict[str, Any]:
    return dataclasses.asdict(found) | {"count": found.count, "stays_from": found.stays_from}


def _print_again(record: dict[str, Any]) -> None:
    """A line for what is not said by one length."""
    out = output.console()
    for one in record["layouts"]:
        for what, field in (("attention overtakes", "crossings"), (f"cheaper than {FULL}", "cheaper_than_full")):
            found = SignChanges(**{f.name: one[field][f.name] for f in dataclasses.fields(SignChanges)})
            if more := in_words(found):
                first = f" from {found.first:,}," if found.first else ":"
                out.print(f"{one['layout_summary']}: {what}{first} {more}", highlight=False, markup=False)


def _print(record: dict[str, Any]) -> None:
    out, layouts = output.console(), record["layouts"]
    lengths = list(layouts[0]["attention_share"])
    compared = any(one["layout"] != FULL for one in layouts)
    choose = any(one["choosing_overtakes_tokens"] for one in layouts)
    rows = output.table(
        f"{record['model']}: attention overtakes the linear layers",
        "layout",
        "N*",
        "share tends to",
        *(["cap (FLOPs)", f"cheaper than {FULL} from"] if compared else []),
        *(["choosing overtakes from"] if choose else []),
        *(f"share at {n:,}" for n in lengths),
    )
    for one in layouts:
        n, from_tokens = one["crossover_tokens"], one["cheaper_than_full_from_tokens"]
        searched = one["crossings"]["searched_tokens"]
        cheaper = "" if one["layout"] == FULL else "never" if from_tokens is None else f"{from_tokens:,}"
        limit = one["flops_cap"]
        bound = f"{limit:.1f}x" if limit is not None else "none" if one["flops_cap_known"] else "unknown"
        saved = "" if one["layout"] == FULL else bound
        shares = (f"{share:.1%}" for share in one["attention_share"].values())
        rows.add_row(
            one["layout_summary"],
            f"{n:,}" if n else f"> {searched:,}" if searched else "none",
            f"{one['limiting_share']:.1%}",
            *([saved, cheaper] if compared else []),
            *([f"{dearest:,}" if (dearest := one["choosing_overtakes_tokens"]) else "none"] if choose else []),
            *shares,
        )
    out.print(rows)
    _print_again(record)
    words = record["conventions"]
    out.print(
        f"[dim]linear: {words['linear']} ({record['linear_params_per_token']:,} parameters a token); "
        f"pairs: {words['pairs']}; {words['count']} FLOPs[/dim]",
        highlight=False,
    )
