"""A whole model by how its weights are held, in turns in one process: prefill and decode steps on this device.

    python -m eval.bench.packed_model --weights bf16 int4 q4_k --tokens 1024 16384 --contexts 1024 --out FOLDER

Weights are random and all of them in memory together, so name as many formats as the device holds.  Each record has its
format, bits a weight and bytes, every sample, and what the compiler planned for temporaries.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp

from attention.layout import parse_layout
from eval.bench import decode
from eval.bench.chain import invocation
from eval.measure.finite import refuse_no_numbers
from eval.measure.records import json_lines
from eval.measure.records.environment import environment, now
from eval.measure.timing import Budget, compile_program, time_programs
from refmodel.model import Params, prefill
from refmodel.packed.codings import parse_coding
from refmodel.packed.held import held_weights
from refmodel.presets import preset
from refmodel.specification import ModelConfig
from refmodel.weights.random import random_params

PLAIN: Final = "bf16"
"""Weights that are not packed."""

Records = Iterator[dict[str, Any]]


def prefills(config: ModelConfig, held: Mapping[str, Params], tokens: int, samples: int) -> Records:
    """A record of each format's prefill of one prompt, last-token logits."""
    tokens_bt = jax.random.randint(jax.random.key(0), (1, tokens), 0, config.vocab_size)
    programs = {
        name: compile_program(partial(prefill, config), params, tokens_bt, check=refuse_no_numbers)
        for name, params in held.items()
    }
    timings = time_programs(programs, Budget(min_samples=samples, max_samples=samples))
    for name, timing in timings.items():
        yield {
            "kind": "prefill", "weights": name, "tokens": tokens, "samples_ms": timing.samples_ms,
            "compile_ms": timing.compile_ms, "temporary_bytes": programs[name].memory.get("temp_bytes"),
        }  # fmt: skip


def decodes(config: ModelConfig, held: Mapping[str, Params], context: int, samples: int) -> Records:
    """A record of each format's greedy decode steps behind a prompt."""
    for name, params in held.items():
        found = decode.measure(config, params, 1, context, samples)
        yield {**{key: found[key] for key in ("samples_ms", "temporary_bytes")}, "kind": "decode_step",
               "weights": name, "tokens": context}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen3-30b-a3b", help="a preset (default: %(default)s), random weights")
    parser.add_argument("--layout", default="full", help="attention (default: %(default)s)")
    parser.add_argument("--weights", nargs="+", default=[PLAIN, "int4"], help=f"formats; {PLAIN}: not packed")
    parser.add_argument("--tokens", nargs="*", type=int, default=[1024, 16384], help="lengths of prompts")
    parser.add_argument("--contexts", nargs="*", type=int, default=[1024], help="tokens before steps of decode")
    parser.add_argument("--samples", type=int, default=7, help="of each program (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="appends to FOLDER/records.jsonl")
    given = parser.parse_args(argv)
    base = preset(given.model)
    config = base.with_layout(parse_layout(given.layout, base.n_layers))
    held = {
        name: random_params(config, 0, jnp.bfloat16, None if name == PLAIN else parse_coding(name))
        for name in given.weights
    }
    about = {"model": given.model, "layout": given.layout, "dtype": PLAIN, "time": now(),
             "invocation": invocation(__spec__.name), **dataclasses.asdict(environment())}  # fmt: skip
    runs = [prefills(config, held, tokens, given.samples) for tokens in given.tokens]
    runs += [decodes(config, held, context, given.samples) for context in given.contexts]
    for records in runs:
        plain_ms = None
        for record in records:
            _, bits, n_bytes = held_weights(held[record["weights"]])
            json_lines.append(given.out / "records.jsonl", about | record | {"bits": bits, "weight_bytes": n_bytes})
            ms = statistics.median(record["samples_ms"])
            plain_ms = plain_ms or ms
            print(
                f"{record['kind']} {record['tokens']:>7,}  {record['weights']:<9} {ms:9.3f} ms, {ms / plain_ms:.3f} of "
                f"{given.weights[0]}; {bits:.2f} bits, {n_bytes / 1e9:.2f} GB, "
                f"{(record['temporary_bytes'] or 0) / 1e6:,.1f} MB of temporaries", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
