"""`prefillwall generate`: the model's continuation of a prompt, under any layout."""

from __future__ import annotations

import argparse

import jax.numpy as jnp

from eval.commands import arguments
from refmodel.generate import generate
from refmodel.source import open_model

EPILOG = """examples:
  prefillwall generate 'The capital of France is' --new 16
  prefillwall generate 'The capital of France is' --layout 'swa(64,sinks=4)' --temperature 0.7 --seed 3"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "generate", help="continue a prompt", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prompt")
    arguments.add_model(parser)
    parser.add_argument("--layout", default="full", help="attention per layer (default: full)")
    parser.add_argument("--new", type=arguments.positive, default=64, metavar="N", help="tokens (default: 64)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    arguments.add_dtype(parser)
    arguments.add_seed(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    model = open_model(options.model, arguments.DTYPES[options.dtype], options.seed)
    if model.tokenizer is None:
        raise ValueError(f"{options.model} has random weights and no tokenizer; give a checkpoint")
    ids = model.tokenizer.encode(options.prompt, add_special_tokens=False).ids
    if not ids:
        raise ValueError("the prompt is empty")
    model = model.with_layout(options.layout, options.seed)
    new = generate(
        model.config, model.params, jnp.asarray([ids], jnp.int32), options.new,
        temperature=options.temperature, seed=options.seed,
    )  # fmt: skip
    print(options.prompt + model.tokenizer.decode(new[0].tolist()))
    return 0
