"""`prefillwall quality`: what layouts cost in quality on a text, and where their tokens were routed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from attention.parameters import spelling
from attention.token_routed import Routed
from eval.commands import arguments, output
from eval.commands.resolve import runnable, running_dtype, say_cuts, say_drawn
from eval.measure import estimate
from eval.measure.cells import measure_quality
from eval.measure.default_sweep import LAYOUTS, QUALITY_TOKENS, usual_sweep
from eval.measure.device import open_device
from eval.measure.named_layout import NamedLayout
from eval.measure.plan import Sweep, plan
from eval.measure.progress import progress_bar, remarks
from eval.measure.refuse_layouts import refuse_layouts
from eval.quality.bootstrap import BLOCK_TOKENS, DRAWS
from eval.report.number_format import count, percent, signed_percent
from refmodel.checkpoint.find import find_checkpoint
from refmodel.checkpoint.packing import weights_named
from refmodel.default_model import DEFAULT_MODEL
from refmodel.observe import routes_taken
from refmodel.source import Model, read_model
from refmodel.specification import ModelConfig
from refmodel.token_ids import text_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DESCRIPTION = (
    "Reads a text in one pass under each layout: perplexity, divergence from full attention, agreement of the most\n"
    "likely next token; for layers that route tokens also the shares of the routes that were taken."
)

EXAMPLES = (
    "prefillwall quality",
    "prefillwall quality --layouts 'swa(512)' 'swa(508,sinks=4)' --tokens 1024",
    "prefillwall quality --layouts 'routed(64|full,router=keynorm,threshold=14)' --tokens 512 --text README.md --json",
    "prefillwall quality --model tiny-moe --layouts 'swa(16)' 'routed(8|full)' --tokens 64",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, DEFAULT_MODEL, runs=True)
    arguments.add_layouts(parser, LAYOUTS, also="; full is added")
    parser.add_argument(
        "--tokens", type=arguments.predicting, metavar="N",
        help=f"length of text to read (default: {QUALITY_TOKENS}, or the whole of a shorter text)",
    )  # fmt: skip
    arguments.add_text(parser)
    arguments.add_device(parser)
    arguments.add_dtype(parser)
    arguments.add_running_weights(parser)
    arguments.add_seed(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    text = None if options.text is None else arguments.read_text(options.text)
    found = find_checkpoint(runnable(options.model), options.seed)
    trained = found.weights == "checkpoint"
    if options.text and not trained:
        raise ValueError(f"{options.model} has random weights and no tokenizer to read --text with")
    tokenizer = found.tokenizer() if trained else None  # a missing one is refused before weights are read
    tokens = options.tokens or _readable_tokens(found.described, tokenizer, text)
    if options.layouts:
        refuse_layouts(options.layouts, found.described, trained=trained, tokens=tokens)
    dtype = running_dtype(options, on_gpu=open_device(options.device))
    model = read_model(found, options.model, dtype, weights_named(options.weights))
    if model.tokenizer is None:
        print(f"{options.model} has random weights and no tokenizer: it reads random ids, and its figures say nothing "
              "of a trained model", file=sys.stderr)  # fmt: skip
    planned = usual_sweep(
        model, options.layouts, [tokens], quality_tokens=tokens, text=text,
        text_name=options.text or "",
    )  # fmt: skip
    say_cuts(options.layouts or [layout.name for layout in planned.layouts], model.config.n_layers)
    say_drawn(planned.layouts, model.config, trained=trained)
    for remark in remarks(planned):
        print(remark, file=sys.stderr)
    watched = output.is_watched()
    with progress_bar(watched=watched) as bar:
        task = bar.add_task(_waiting(planned) if watched else "", total=len(planned.layouts))
        record = _record(planned, on_read=lambda: bar.advance(task))
    if options.json:
        output.print_json(record)
    else:
        _print(record)
    return 0


def _readable_tokens(config: ModelConfig, tokenizer: Tokenizer | None, text: str | None) -> int:
    """What is read where no length is named: as much as `compare` reads, or the whole of a shorter text."""
    there = QUALITY_TOKENS
    if text is not None and tokenizer is not None:
        there = len(text_ids(tokenizer, text, config.vocab_size, config.name))
    return max(2, min(QUALITY_TOKENS, there, config.max_positions))


def _waiting(planned: Sweep) -> str:
    """What goes on, and for how long."""
    cells = [cell for cell in plan(planned) if cell.kind == "quality"]
    seconds = estimate.sweep_s(cells, estimate.matmul_flops_per_s(planned.dtype), planned.budget)
    return f"reading {planned.quality_tokens:,} tokens {len(planned.layouts)} times, about {seconds / 60:.1f} min"


def _record(planned: Sweep, on_read: Callable[[], None]) -> dict[str, Any]:
    model, tokens = planned.model, planned.quality_tokens
    findings = measure_quality(planned, planned.layouts, tokens, on_read)
    found = {layout: one.quality for layout, one in findings.items() if one.quality}
    return {
        "command": "quality", "model": model.config.name, "weights": model.weights_as_held,
        "weight_bits": model.held.bits_per_weight, "weight_bytes": model.held.n_bytes, "dtype": planned.dtype.name,
        "tokens": tokens, "text": {"name": planned.text.name, "sha256": planned.text.sha256},
        "conventions": {
            "pass": "one pass over the text (stride = length), every next token predicted",
            "perplexity": "exp(mean negative log likelihood)",
            "kl_nats": "mean over the tokens of KL(full || layout), nats; p99: passed by one token of a hundred",
            "first_departure": "the first token at which another next token is likeliest than under full attention",
            "intervals": f"90 % of {DRAWS:,} means over blocks of {BLOCK_TOKENS} tokens, drawn again: of this text",
            "top1_agreement": "share of tokens where both find the same next token most likely",
            "routes": "share of the tokens that took each route, for each unit (layer, group or head)",
        },
        "layouts": [
            {
                "layout": layout.name, **asdict(quality),
                "perplexity_change": quality.perplexity / found[planned.full].perplexity - 1,
                "assumptions": _assumptions(layout), "routes": _routes(planned, model.with_layout(layout.variants)),
            }
            for layout, quality in found.items()
        ],
    }  # fmt: skip


def _assumptions(layout: NamedLayout) -> dict[str, str]:
    """What counts of FLOPs take for granted of the layout's variants."""
    return {str(variant): variant.assumption for variant in layout.counts if variant.assumption}


def _routes(planned: Sweep, model: Model) -> list[dict[str, Any]]:
    """The routes that the text took in each token-routed layer."""
    if not any(isinstance(variant, Routed) for variant in model.config.layout):
        return []
    tokens_bt = jnp.asarray(planned.text.tokens[: planned.quality_tokens], jnp.int32)[None]
    taken_by_layer = jax.jit(partial(routes_taken, model.config))(model.params, tokens_bt)
    return [
        {
            "layer": layer, "spans": [spelling((span,)) for span in model.config.layout[layer].spans],
            "shares": np.asarray(taken.share_me, np.float64).tolist(), "mean_keys": float(taken.mean_keys),
        }
        for layer, taken in taken_by_layer.items()
    ]  # fmt: skip


def _print(record: dict[str, Any]) -> None:
    out = output.console()
    out.print(f"{record['model']} ({record['weights']} weights, {record['dtype']}), {record['tokens']:,} tokens of "
              f"{record['text']['name']}", highlight=False)  # fmt: skip
    rows = output.table("", "layout", "perplexity", "against full", "90 %", "KL (nats)", "90 %", "p99",
                        "same top token", "departs at")  # fmt: skip
    for one in record["layouts"]:
        spread, first = one["spread"], one["spread"]["first_departure"]
        rows.add_row(
            one["layout"], f"{one['perplexity']:.3f}",
            signed_percent(one["perplexity_change"]), _between(spread["perplexity_change"], signed_percent),
            f"{one['kl_nats']:.4f}", _between(spread["kl_nats"], "{:.4f}".format), f"{spread['kl_p99_nats']:.3f}",
            percent(one["top1_agreement"]), "never" if first is None else f"{first:,}",
        )  # fmt: skip
    out.print(rows)
    for one in record["layouts"]:
        if one["routes"]:
            _print_routes(out, one)
    for variant, assumption in {k: v for one in record["layouts"] for k, v in one["assumptions"].items()}.items():
        out.print(f"counts of {variant} assume: {assumption}", highlight=False)
    for name in ("pass", "kl_nats", "intervals"):
        out.print(f"[dim]{name}: {record['conventions'][name]}[/dim]", highlight=False)


def _between(interval: dict[str, float] | None, show: Callable[[float], str]) -> str:
    """`+1.0 % to +2.0 %`, or a dash for a text that is too short."""
    return "-" if interval is None else f"{show(interval['low'])} to {show(interval['high'])}"


def _print_routes(out: output.Console, one: dict[str, Any]) -> None:
    """Over all layers and units: how often each span was taken, and where it was taken least and most."""
    layers = one["routes"]
    keys = sum(layer["mean_keys"] for layer in layers) / len(layers)
    out.print(f"routes taken under {one['layout']}: {count(len(layers))} layers, {keys:,.1f} keys a query in the mean",
              highlight=False)  # fmt: skip
    rows = output.table("", "span", "share of tokens", "least in a layer", "most")
    for route, span in enumerate(layers[0]["spans"]):
        shares = [unit[route] for layer in layers for unit in layer["shares"]]
        rows.add_row(span, *(percent(x) for x in (sum(shares) / len(shares), min(shares), max(shares))))
    out.print(rows)
