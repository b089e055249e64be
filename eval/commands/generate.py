"""`prefillwall generate`: the model's continuation of a prompt, under any layout."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import jax.numpy as jnp

from attention.layout import format_layout
from attention.unknown import unknown
from eval.commands import arguments, output
from eval.commands.resolve import refuse_without_tokenizer, running_dtype, running_model, say_cuts, tokenizer_here
from eval.measure.device import open_device
from refmodel.default_model import DEFAULT_MODEL
from refmodel.generate import generate
from refmodel.presets import PRESETS, preset, refuse_to_run
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_TOKENS = ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "</s>")
"""What models end an answer with; the first that the vocabulary has is the one."""

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
        help=f"the token that ends the text, or none (default: the first of {' '.join(END_TOKENS)} that there is)",
    )  # fmt: skip
    parser.add_argument(
        "--temperature", type=arguments.temperature, default=0.0, metavar="X", help="0 is greedy (default)"
    )
    arguments.add_device(parser)
    arguments.add_dtype(parser)
    arguments.add_seed(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    refuse_what_needs_no_weights(options)
    model = running_model(options, running_dtype(options, on_gpu=open_device(options.device)))
    tokenizer = model.tokenizer
    if tokenizer is None:  # of the Hub: others are refused above
        raise ValueError(f"{options.model} has no tokenizer to read a text with")
    ids = tokenizer.encode(options.prompt, add_special_tokens=False).ids
    if not ids:
        raise ValueError(f"the prompt {options.prompt!r} has no token in this vocabulary; a text is wanted")
    stop = stop_token(tokenizer, options.stop)
    if options.layout is not None:
        model = model.with_layout(options.layout, options.seed)
        say_cuts([options.layout], model.config.n_layers)
    say_beyond_context(model.config, len(ids), options.new)
    new = generate(
        model.config, model.params, jnp.asarray([ids], jnp.int32), options.new,
        temperature=options.temperature, seed=options.seed, stop_token=stop,
    )[0].tolist()  # fmt: skip
    stopped = stop in new
    kept = new[: new.index(stop)] if stopped else new
    text = tokenizer.decode(kept)
    if not options.json:
        print(options.prompt + text)
        return 0
    output.print_json({
        "command": "generate", "model": model.config.name, "layout": format_layout(model.config.layout),
        "conventions": {
            "choice": f"softmax(logits / {options.temperature:g})" if options.temperature else "greedy",
            "stop": "none" if stop is None else tokenizer.id_to_token(stop),
        },
        "seed": options.seed, "prompt": options.prompt, "prompt_tokens": ids, "text": text, "tokens": kept,
        "stopped": stopped,
    })  # fmt: skip
    return 0


def refuse_what_needs_no_weights(options: argparse.Namespace) -> None:
    """Raises `ValueError` for what can be seen before the seconds or minutes that reading weights takes."""
    if not options.prompt:
        raise ValueError("the prompt is empty; a text to continue is wanted")
    if options.model in PRESETS:
        refuse_to_run(preset(options.model))
        if options.model != DEFAULT_MODEL:
            raise ValueError(f"{options.model} has random weights and no tokenizer; give a checkpoint")
        if options.layout is not None:
            preset(options.model).with_layout(options.layout)
    refuse_without_tokenizer(options.model)
    if options.stop not in (None, "none") and (tokenizer := tokenizer_here(options.model)):
        stop_token(tokenizer, options.stop)


def say_beyond_context(config: ModelConfig, prompt_tokens: int, most_new: int) -> None:
    """One line on stderr where the text may grow longer than what the model has been trained on."""
    if prompt_tokens + most_new > config.max_positions:
        print(
            f"{config.name} is made for {config.max_positions:,} tokens; the prompt has {prompt_tokens:,} and up to "
            f"{most_new:,} are asked for: what comes beyond may make no sense",
            file=sys.stderr,
        )


def stop_token(tokenizer: Tokenizer, asked: str | None) -> int | None:
    """The id of the token that ends a text; None where none is wanted or the vocabulary has none."""
    if asked == "none":
        return None
    known = {token: tokenizer.token_to_id(token) for token in (END_TOKENS if asked is None else [asked])}
    found = next((token for token, number in known.items() if number is not None), None)
    if asked is not None and found is None:
        ends = (token for token in END_TOKENS if tokenizer.token_to_id(token) is not None)
        raise ValueError(f"{unknown('token', asked, (*ends, 'none'))}, or any other token of the vocabulary")
    return known[found] if found else None
