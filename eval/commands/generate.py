"""`prefillwall generate`: the model's continuation of a prompt, under any layout."""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING

import jax.numpy as jnp

from attention.layout import format_layout
from eval.commands import arguments, output
from eval.commands.resolve import running_dtype, say_cuts
from eval.measure.device import open_device
from eval.measure.refuse_layouts import refuse_layouts
from refmodel.checkpoint.find import find_checkpoint
from refmodel.default_model import DEFAULT_MODEL
from refmodel.generate import generate
from refmodel.presets import PRESETS, preset, refuse_to_run
from refmodel.source import read_model
from refmodel.token_ids import continuation, text_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DESCRIPTION = "Continues a prompt, greedily or sampled, until the model ends it or --new tokens are there."

EXAMPLES = (
    "prefillwall generate 'The capital of France is' --new 16",
    "prefillwall generate 'The capital of France is' --layout 'swa(64,sinks=4)' --temperature 0.7 --seed 3",
    "prefillwall generate 'One, two, three,' --new 24 --stop none --json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", help="the text to continue, as it is: no chat template is put around it")
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
    arguments.add_device(parser)
    arguments.add_dtype(parser)
    arguments.add_seed(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    refuse_presets_without_words(options)
    found = find_checkpoint(options.model, options.seed)
    config, tokenizer = found.described, found.tokenizer()  # what is refused is refused before weights are read
    ids = text_ids(tokenizer, options.prompt, config.vocab_size, options.model)
    if not ids:
        raise ValueError(f"the prompt {options.prompt!r} has no token in this vocabulary; a text is wanted")
    asked = None if options.stop is None else asked_stops(tokenizer, options.stop)
    if options.layout is not None:
        refuse_layouts([options.layout], config, trained=found.weights == "checkpoint")
    model = read_model(found, options.model, running_dtype(options, on_gpu=open_device(options.device)))
    if options.layout is not None:
        model = model.with_layout(options.layout, options.seed)
        say_cuts([options.layout], model.config.n_layers)
    stops = model.end_tokens if asked is None else asked
    new = generate(
        model.config, model.params, jnp.asarray([ids], jnp.int32), options.new,
        temperature=options.temperature, seed=options.seed, stop_tokens=stops,
    )[0].tolist()  # fmt: skip
    kept = list(itertools.takewhile(lambda token: token not in stops, new))
    text = continuation(tokenizer, ids, kept)
    if not options.json:
        print(options.prompt + text)
        return 0
    output.print_json({
        "command": "generate", "model": model.config.name, "layout": format_layout(model.config.layout),
        "conventions": {
            "choice": f"softmax(logits / {options.temperature:g})" if options.temperature else "greedy",
            "stop": ", ".join(tokenizer.id_to_token(stop) or str(stop) for stop in stops) or "none",
        },
        "seed": options.seed, "prompt": options.prompt, "prompt_tokens": ids, "text": text, "tokens": kept,
        "stopped": len(kept) < len(new),
    })  # fmt: skip
    return 0


def refuse_presets_without_words(options: argparse.Namespace) -> None:
    """Raises `ValueError` for an empty prompt, and for a preset that runs on random weights or not at all."""
    if not options.prompt:
        raise ValueError("the prompt is empty; a text to continue is wanted")
    if options.model in PRESETS:
        refuse_to_run(preset(options.model))
        if options.model != DEFAULT_MODEL:
            raise ValueError(f"{options.model} has random weights and no tokenizer; give a checkpoint")


def asked_stops(tokenizer: Tokenizer, asked: str) -> tuple[int, ...]:
    """The id of the token that is to end the text; none for `none`.  Raises `ValueError` for one that there is not."""
    if asked == "none":
        return ()
    number = tokenizer.token_to_id(asked)
    if number is None:
        raise ValueError(f"no token {asked!r} in this vocabulary; accepted: none, or a token as the vocabulary has it")
    return (number,)
