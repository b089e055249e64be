"""`prefillwall flops`: what a step costs, counted three ways, and the least time that a card needs for it."""

from __future__ import annotations

import argparse
from typing import Any, Final

from rich.table import Table

from attention.backends.registry import BACKENDS
from eval.commands import arguments, output
from eval.commands.arguments import from_zero, positive
from eval.commands.resolve import shape_named
from eval.commands.storage import add_storage
from eval.cost.cards import card
from eval.cost.flops.closed_form import COMPONENTS, steps_flops
from eval.cost.flops.formats import Storage, weights_record
from eval.cost.flops.traffic import kv_cache_bytes, steps_bytes
from eval.cost.roofline import Assumptions, Floor, floors, longest_fit_tokens
from eval.report.number_format import size
from refmodel.schedule import Step, prefill_steps
from refmodel.specification import ModelConfig

DESCRIPTION = (
    "Counts what a step of the model executes three ways (closed form, traced, compiled) beside what is useful; exits\n"
    "with 1 where the three disagree."
)

HEADS: Final = {
    "executed": "executed\n(closed form)",
    "traced": "executed\n(traced)",
    "compiled": "executed\n(compiled)",
}
"""Columns of counts of one thing, which must agree."""


EXAMPLES = (
    "prefillwall flops --model qwen3-30b-a3b --layout '5*swa(1024)+full' --tokens 65536",
    "prefillwall flops --model gemma3-12b --tokens 16384 --card r9700 --weights 4.5bit",
    "prefillwall flops --tokens 1 --start 1024 --weights 'int4(128)' --card r9700 --no-compile    # what a token reads",
    "prefillwall flops --tokens 1 --start 65536 --card h100-sxm    # one decode step",
    "prefillwall flops --tokens 1048576 --chunk 8192    # chunked prefill",
)

MOST_TOKENS: Final = 2**24
"""Executed counts look at every position."""

MOST_LOTS: Final = 2**22
"""Tiles of routes that are drawn by lot are found by drawing them."""

MOST_TRACED_STEPS: Final = 4
MOST_TRACED_PIECES: Final = 1200
"""Chunks, and pieces between evictions, that are counted one by one within the seconds that an answer may take."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, "qwen3-30b-a3b", runs=False)
    arguments.add_layout(parser)
    arguments.add_one_length(parser, 65_536)
    parser.add_argument(
        "--start", type=from_zero, default=0, metavar="P", help="tokens already in the cache (default: 0)"
    )
    parser.add_argument("--chunk", type=positive, metavar="C", help="feed the prompt in chunks of C")
    arguments.add_impl(parser, ("auto", *(name for name, one in BACKENDS.items() if one.counts == "closed form")))
    parser.add_argument("--no-compile", action="store_true", help="leave the compiler out")
    arguments.add_card(parser)
    add_storage(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    model = shape_named(options.model, options.layout)
    if options.start + options.tokens > MOST_TOKENS:
        raise ValueError(f"at most {MOST_TOKENS:,} tokens in all, for every position is counted; got "
                         f"{options.start + options.tokens:,}")  # fmt: skip
    if options.chunk and options.start:
        raise ValueError("--chunk feeds a prompt from an empty cache; leave --start out")
    steps = prefill_steps(options.tokens, options.chunk) if options.chunk else (Step(options.tokens, options.start),)
    if not options.start:
        for variant in model.layout:
            variant.check_prompt(options.tokens)
    record, times = _record(options, model, steps), _floors(options, model, steps)
    counts = {"useful": steps_flops(model, steps)}
    if _lots(model, steps) <= MOST_LOTS:
        counts["executed"] = steps_flops(model, steps, count="executed", impl=options.impl)
    faults: list[str] = []
    record["only_closed_form"] = _why_only_closed_form(model, steps)
    if not record["only_closed_form"]:
        from eval.cost.flops.cross_check import cross_check  # the only part that needs a compiler

        check = cross_check(model, steps, impl=options.impl, compile_too=not options.no_compile)
        faults = check.faults
        counts["traced"] = check.traced
        if check.compiled is not None:
            counts["compiled"] = check.compiled
        record |= {"rewritten": check.rewritten, "merged": check.merged, "unseen_calls": check.unseen_calls,
                   "unexplained": check.unexplained}  # fmt: skip
        record["faults"] = faults
        record["conventions"]["cond"] = check.cond_policy
    record |= {"flops": counts, "bytes": steps_bytes(model, steps, Storage(options.weights, options.kv))}
    record["memory"] = _memory(options, model)
    if times:
        record["floor_ms"] = {name: floor.ms for name, floor in times.items()}
    if options.json:
        output.print_json(record)
    else:
        _print(record, times)
    return 1 if faults else 0


def _why_only_closed_form(model: ModelConfig, steps: tuple[Step, ...]) -> str:
    """Why no program is counted, empty where one is."""
    if model.cannot_run:
        return "traced and compiled count models that this project runs"
    if len(steps) > MOST_TRACED_STEPS:
        return f"a trace would follow {len(steps):,} chunks one by one, at most {MOST_TRACED_STEPS} are"
    if (lots := _lots(model, steps)) > MOST_LOTS:
        return f"{lots:,} routes are drawn by lot, layer by layer: useful FLOPs alone, executed up to {MOST_LOTS:,}"
    pieces = sum(mixer.traced_pieces(step.tokens) for mixer in {*model.layout} for step in steps)
    if pieces > MOST_TRACED_PIECES:
        return (
            f"a trace would follow {pieces:,} pieces between evictions one by one, at most {MOST_TRACED_PIECES:,} are"
        )
    return ""


def _lots(model: ModelConfig, steps: tuple[Step, ...]) -> int:
    """Routes that a random router draws: in each layer others, for each token."""
    return sum(mixer.looked_up(step.tokens) for mixer in model.layout for step in steps)


def _record(options: argparse.Namespace, model: ModelConfig, steps: tuple[Step, ...]) -> dict[str, Any]:
    return {
        "command": "flops", "model": model.name, "layout": model.layout_name, "tokens": options.tokens,
        "start": options.start, "steps": len(steps), "card": options.card and card(options.card).name,
        "impl": options.impl,
        "weights": options.weights, "kv": options.kv,
        "conventions": {
            "flops": "2 per multiply-accumulate; matrix products only",
            "linear": "all but attention, what chooses for it, and head", "pairs": "causal, exact",
            "useful": "visible pairs; chosen experts' rows; head on the last token",
            "executed": "visited tiles; expert row tiles that any routing may need; head on the last token",
            "bytes": "weights and cache once a step; activations not counted",
        },
    }  # fmt: skip


def _memory(options: argparse.Namespace, model: ModelConfig) -> dict[str, Any]:
    """What weights and cache take, and up to which context they fit the card that was named."""
    fits: dict[str, Any] = {}
    if options.card is not None and "memory_bytes" in (one := card(options.card)).figures:
        fits = {"longest_fit_tokens": longest_fit_tokens(model, one, Storage(options.weights, options.kv))}
    cache_bytes = kv_cache_bytes(model, options.start + options.tokens, options.kv)
    return {"weights": weights_record(model, options.weights), "cache_bytes": cache_bytes, **fits}


def _floors(options: argparse.Namespace, model: ModelConfig, steps: tuple[Step, ...]) -> dict[str, Floor]:
    if options.card is None:
        return {}
    return floors(model, steps, card(options.card), Assumptions(Storage(options.weights, options.kv)))


def _print(record: dict[str, Any], times: dict[str, Floor]) -> None:
    out, counts = output.console(), record["flops"]
    last = list(counts)[-1]
    title = f"{record['model']}  {record['layout']}  {record['tokens']:,} tokens at {record['start']:,}: FLOPs"
    heads = (HEADS.get(name, name) for name in counts)
    rows = output.table(title, "component", *heads, f"{last} - useful")
    for name in _components(counts):
        figures = [count.get(name, 0) for count in counts.values()]
        rows.add_row(name or "(no scope)", *(f"{x:,}" for x in (*figures, figures[-1] - figures[0])))
    totals = [sum(count.values()) for count in counts.values()]
    rows.add_row("total", *(f"{x:,}" for x in (*totals, totals[-1] - totals[0])), style="bold")
    out.print(rows)
    out.print(agreement(record), highlight=False, soft_wrap=True)
    out.print(_bytes_table(record, times))
    out.print(f"[dim]{memory_line(record)}[/dim]", highlight=False)
    for name, words in record["conventions"].items():
        out.print(f"[dim]{name}: {words}[/dim]", highlight=False)
    for name, flops in record.get("rewritten", {}).items():
        out.print(f"traced less compiled, {name or '(no scope)'}: {flops:,} FLOPs (rewritten, or moved between scopes)")
    if record.get("merged"):
        out.print(f"merged: {record['merged']:,} FLOPs of equal products, which the compiler computes once; what was "
                  "checked is the program compiled without that pass")  # fmt: skip
    for conditional in record.get("unexplained", ()):
        out.print(f"taken as its dearest branch: {conditional}, which no traced conditional explains")
    for call in record.get("unseen_calls", ()):
        out.print(f"not counted: the compiled program calls {call}, which cannot be read")
    for fault in record.get("faults", ()):
        out.print(f"[red]counts disagree[/red] in {fault}")


def memory_line(record: dict[str, Any]) -> str:
    """Weights, cache, and the longest context of a card, in words."""
    memory, capacity = record["memory"], record["start"] + record["tokens"]
    weights = memory["weights"]
    words = (
        f"memory: weights {size(weights['bytes'])} ({weights['bits_per_weight']:.4g} bits each), "
        f"cache of {capacity:,} tokens {size(memory['cache_bytes'])}"
    )
    if "longest_fit_tokens" not in memory:
        return words
    fits = memory["longest_fit_tokens"]
    if fits == 0:
        return f"{words}; too large for {record['card']}"
    return f"{words}; {record['card']} holds both {'at any length' if fits is None else f'up to {fits:,} tokens'}"


def agreement(record: dict[str, Any]) -> str:
    """Whether the counts of what is executed agree, and what is known of a difference; more is printed below it."""
    counts = record["flops"]
    if "traced" not in counts:
        return f"closed form only: {record['only_closed_form']}"
    if record["faults"]:
        return "closed form, traced and compiled do NOT agree: see below"
    if "compiled" not in counts:
        return "closed form = traced; the compiler was left out"
    if not record["rewritten"]:
        return "closed form = traced = compiled"
    traced, compiled = (sum(counts[name].values()) for name in ("traced", "compiled"))
    if traced == compiled:
        return "closed form = traced = compiled in all; the compiler moved products between components, see below"
    rewritten = traced - compiled - record["merged"]
    why = [f"{record['merged']:,} merged"] * bool(record["merged"]) + [f"{rewritten:,} rewritten"] * bool(rewritten)
    gap = f"{compiled - traced:+,} FLOPs ({compiled / traced - 1:+.2%})"
    return f"closed form = traced; compiled: {gap}: {' and '.join(why)}, see below"


def _bytes_table(record: dict[str, Any], times: dict[str, Floor]) -> Table:
    moved, useful = record["bytes"], record["flops"]["useful"]
    title = f"bytes moved ({record['weights']} weights, {record['kv']} cache)"
    if times:
        title += f" and least time on {record['card']}"
    rows = output.table(title, "component", "bytes", "FLOPs per byte", *(["ms", "bound by"] if times else []))
    for name in _components({"useful": useful}):
        floor = times.get(name)
        tail = [f"{floor.ms:,.3f}", "memory" if floor.memory_ms > floor.compute_ms else "compute"] if floor else []
        intensity = useful[name] / moved[name] if moved.get(name) else None
        rows.add_row(name, f"{moved.get(name, 0):,}", f"{intensity:,.1f}" if intensity else "", *tail)
    tail = [f"{sum(floor.ms for floor in times.values()):,.3f}", ""] if times else []
    rows.add_row(
        "total", f"{sum(moved.values()):,}", f"{sum(useful.values()) / sum(moved.values()):,.1f}", *tail, style="bold"
    )
    return rows


def _components(counts: dict[str, dict[str, int]]) -> list[str]:
    seen = {name for count in counts.values() for name in count}
    return [*(name for name in COMPONENTS if name in seen), *sorted(seen - set(COMPONENTS))]
