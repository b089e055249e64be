"""`prefillwall save`: a model, under any layout, as a Hugging Face folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jax.numpy as jnp

from eval.commands import arguments, output
from eval.commands.resolve import say_cuts
from eval.measure.refuse_layouts import refuse_layouts
from refmodel.checkpoint.find import find_checkpoint
from refmodel.default_model import DEFAULT_MODEL
from refmodel.digest import params_digest
from refmodel.own_fields import OWN
from refmodel.presets import refuse_to_run
from refmodel.saving.config_json import written_config
from refmodel.saving.new_folder import refuse_taken
from refmodel.source import read_model

DESCRIPTION = (
    "Writes a model as a Hugging Face folder: config.json with the layout, safetensors, tokenizer. Every command\n"
    "reads it with --model (but a text only where there is a tokenizer), and transformers with the attention that\n"
    "it has."
)

EXAMPLES = (
    "prefillwall save --model tiny-moe --layout '3*swa(16)+full' --out out/tiny",
    "prefillwall save --dtype bf16 --out out/smollm2    # a GGUF file becomes a folder",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser, DEFAULT_MODEL, runs=True)
    arguments.add_layout(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER",
        help="folder (default: none; it is there whole in the end, or not at all)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="put the model in the place of one that is there")
    arguments.add_dtype(parser, "float32")
    arguments.add_seed(parser)
    arguments.add_json(parser)


def run(options: argparse.Namespace) -> int:
    refuse_taken(options.out, overwrite=options.overwrite)  # what is refused is refused before weights are read
    found = find_checkpoint(options.model, options.seed)
    config = found.described
    if options.layout is not None:
        refuse_layouts([options.layout], config, trained=found.weights == "checkpoint")
        config = config.with_layout(options.layout)
    refuse_to_run(config)
    written_config(config)
    model = read_model(found, options.model, jnp.dtype(options.dtype).type)
    if options.layout is not None:
        model = model.with_layout(options.layout, options.seed)
        say_cuts([options.layout], model.config.n_layers)
    model.save(options.out, overwrite=options.overwrite)
    own = written_config(model.config)[0].get(OWN, {})
    if "layout" in own and "model_type" not in own:
        print(f"transformers passes over {own['layout']}, which stands under {OWN!r} in config.json: it computes the "
              "attention that the other fields say", file=sys.stderr)  # fmt: skip
    if not options.json:
        print(f"{model.config.name}, {model.config.layout_name}, {options.dtype}: {options.out}")
        return 0
    output.print_json({
        "command": "save", "model": model.config.name, "weights": model.weights, "weight_bytes": model.held.n_bytes,
        "layout": model.config.layout_name, "seed": options.seed, "out": str(options.out),
        "digest": params_digest(model.params),
        "conventions": {"dtype": options.dtype, "names": "Hugging Face's", "digest": "BLAKE2b of every parameter"},
    })  # fmt: skip
    return 0
