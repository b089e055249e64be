"""`prefillwall generate`: the model's continuation of a prompt, under any layout."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import jax.numpy as jnp

from attention.layout import format_layout
from eval.commands import arguments, output
from eval.commands.resolve import running_dtype, say_cuts
from eval.measure.device import open_device
from eval.measure.refuse_layouts import refuse_layouts
from refmodel.checkpoint.checkpoint import Checkpoint
from refmodel.checkpoint.find import find_checkpoint
from refmodel.checkpoint.packing import refuse_to_pack, weights_named
from refmodel.continuation import stop_tokens, until_stop
from refmodel.default_model import DEFAULT_MODEL
from refmodel.generate import decode
from refmodel.packed.coding import Coding
from refmodel.presets import PRESETS, preset, refuse_to_run
from refmodel.room import bytes_of_weights, refuse_a_cache_that_cannot_fit, refuse_what_cannot_fit
from refmodel.sampling import sampling
from refmodel.source import Model, read_model
from refmodel.token_ids import continuation, text_ids
from refmodel.tokenizer.running_text import text_pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from refmodel.checkpoint.find import Found

DESCRIPTION = "Continues a prompt, greedily or sampled, until the model ends it or --new tokens are there."

EXAMPLES = (
    "prefillwall generate 'The capital of France is' --new 16",
    "prefillwall generate 'The capital of France is' --layout 'swa(64,sinks=4)' --temperature 0.7 --seed 3",
    "prefillwall generate 'What is the capital of France?' --chat --stream --temperature 0.7 --top-p 0.9",
    "prefillwall generate 'One, two, three,' --new 24 --stop none --json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help="the text to continue, as it is but for --chat; - reads it from standard input")
    parser.add_argument(
        "--chat", action="store_true",
        help="the prompt is what a user says: it goes into the chat template of the model's files (needs jinja2)",
    )  # fmt: skip
    arguments.add_model(parser, DEFAULT_MODEL, runs=True)
    arguments.add_layout(parser)
    parser.add_argument("--new", type=arguments.positive, default=64, metavar="N", help="most tokens (default: 64)")
    parser.add_argument(
        "--stop", metavar="TOKEN",
        help="the token that ends the text, or none (default: those that the model's files name)",
    )  # fmt: skip
    parser.add_argument(
        "--temperature", type=arguments.temperature, default=0.0, metavar="X", help="0 is greedy (default)"
    )
    parser.add_argument(
        "--top-k", type=arguments.positive, metavar="K", help="draw from the K likeliest tokens alone (default: all)"
    )
    parser.add_argument(
        "--top-p", type=arguments.share, metavar="P",
        help="draw from the fewest tokens whose probability together reaches P (default: all)",
    )  # fmt: skip
    parser.add_argument("--stream", action="store_true", help="print the text as it comes")
    arguments.add_device(parser)
    arguments.add_dtype(parser)
    arguments.add_running_weights(parser)
    arguments.add_seed(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    if options.stream and options.json:
        raise ValueError("--json prints one object when all is there: leave --stream out")
    how, prompt = sampling(options.temperature, options.top_k, options.top_p), prompt_text(options)
    refuse_presets_without_words(options.model)
    found = find_checkpoint(options.model, options.seed)
    config, tokenizer = found.described, found.tokenizer()  # what is refused is refused before weights are read
    ids = text_ids(
        tokenizer, _as_seen(found, prompt, options), config.vocab_size, options.model, edges=not options.chat
    )
    if not ids:
        raise ValueError(f"the prompt {prompt!r} has no token in this vocabulary; a text is wanted")
    asked = None if options.stop is None else asked_stops(tokenizer, options.stop)
    model = _opened(found, len(ids), options)
    stops = model.end_tokens if asked is None else asked
    before = [] if options.chat else [prompt]
    lots = decode(
        model.config, model.params, jnp.asarray([ids], jnp.int32), options.new, how, seed=options.seed,
        stop_tokens=stops, tokens_a_call=1 if options.stream else None,
    )  # fmt: skip
    if options.stream:
        _print(itertools.chain(before, text_pieces(tokenizer, ids, until_stop(lots, stops))))
        return 0
    kept = list(until_stop(lots, stops))
    text = continuation(tokenizer, ids, kept)
    if not options.json:
        _print([*before, text])
        return 0
    output.print_json({
        "command": "generate", "model": model.config.name, "weights": model.weights_as_held,
        "weight_bits": model.held.bits_per_weight, "weight_bytes": model.held.n_bytes,
        "layout": format_layout(model.config.layout),
        "conventions": {
            "choice": _choice(options), "stop": ", ".join(tokenizer.id_to_token(x) or str(x) for x in stops) or "none",
        },
        "seed": options.seed, "prompt": prompt, "prompt_tokens": ids, "text": text,
        "tokens": kept, "stopped": len(kept) < options.new,
    })  # fmt: skip
    return 0


def prompt_text(options: argparse.Namespace) -> str:
    """The prompt, of standard input without its last line break; raises `ValueError` for an empty one."""
    prompt: str = arguments.read_text("-").removesuffix("\n") if options.prompt == "-" else options.prompt
    if not prompt:
        raise ValueError("the prompt is empty; a text to continue is wanted")
    return prompt


def _as_seen(found: Found, prompt: str, options: argparse.Namespace) -> str:
    """The text that the model sees of a prompt."""
    if not options.chat:
        return prompt
    if (template := found.chat_template()) is None:
        raise ValueError(
            f"{options.model} has no chat template: leave --chat out, and the prompt is continued as it is"
        )
    return template.around(prompt)


def _opened(found: Found, prompt_tokens: int, options: argparse.Namespace) -> Model:
    """The model with its layout, once it is known to fit with its cache."""
    config, trained = found.described, found.weights == "checkpoint"
    if options.layout is not None:
        refuse_layouts([options.layout], config, trained=trained)
    dtype = running_dtype(options, on_gpu=open_device(options.device))
    weights = weights_named(options.weights)
    coding = weights if isinstance(weights, Coding) else None
    running = config if options.layout is None else config.with_layout(options.layout)
    if trained:
        refuse_to_pack(weights)
    weights_bytes = 0  # of a Hub id that are kept: told by its files, when all of them are here
    if isinstance(weights, str):
        weights_bytes = found.held_bytes(dtype, weights) if isinstance(found, Checkpoint) else 0
    else:
        refuse_what_cannot_fit(config, dtype, coding)
        weights_bytes = bytes_of_weights(config, dtype, coding)
    capacity_tokens = prompt_tokens + options.new - 1
    settled = running.at_length(capacity_tokens, prompt_tokens)
    refuse_a_cache_that_cannot_fit(settled, 1, capacity_tokens, dtype, weights_bytes)
    model = read_model(found, options.model, dtype, weights)
    if options.layout is not None:
        model = model.with_layout(options.layout, options.seed)
        say_cuts([options.layout], model.config.n_layers)
    return model


def _print(pieces: Iterable[str]) -> None:
    """The text, each piece of it as it comes."""
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def _choice(options: argparse.Namespace) -> str:
    """How tokens are chosen, in words."""
    if not options.temperature:
        return "greedy"
    cuts = [f"{name} {value:g}" for name in ("top_k", "top_p") if (value := getattr(options, name)) is not None]
    return ", ".join([f"softmax(logits / {options.temperature:g})", *cuts])


def refuse_presets_without_words(model: str) -> None:
    """Raises `ValueError` for a preset that runs on random weights or not at all."""
    if model in PRESETS:
        refuse_to_run(preset(model))
        if model != DEFAULT_MODEL:
            raise ValueError(f"{model} has random weights and no tokenizer; give a checkpoint")


def asked_stops(tokenizer: Tokenizer, asked: str) -> tuple[int, ...]:
    """The id of the token that is to end the text; none for `none`.  Raises `ValueError` for one that there is not."""
    if asked == "none":
        return ()
    return stop_tokens(tokenizer, asked)
