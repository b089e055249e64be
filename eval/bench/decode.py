"""A decode step of a whole model on this device: milliseconds, and the bytes a second at which it reads.

    python -m eval.bench.decode --model qwen3-30b-a3b --contexts 1024 16384 32768 --layouts full "5*swa(1024)+full"

Each case prefills a prompt of random tokens under its layout, then decodes greedily, several steps in one program on
the device; the time is a call's over its steps.  Bytes are what a step has to read and write, weights in use and cache
each once (`eval.cost.flops.traffic`): over the time, what of the memory's bandwidth the step realises.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from attention.layout import parse_layout
from eval.bench.chain import invocation
from eval.cost.flops.formats import Storage
from eval.cost.flops.traffic import steps_bytes
from eval.measure.records import json_lines
from eval.measure.records.environment import environment, now
from refmodel.cache import Cache
from refmodel.model import Params, prefill, step
from refmodel.presets import preset
from refmodel.schedule import Step
from refmodel.specification import ModelConfig
from refmodel.weights.random import random_params, variant_params

STEPS = 16
"""Of one program."""


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def decode(config: ModelConfig, params: Params, cache: Cache, token_b: jax.Array) -> tuple[Cache, jax.Array]:
    """`STEPS` greedy tokens: the cache and the last of them, [B]."""

    def one_token(_: Any, carry: tuple[Cache, jax.Array]) -> tuple[Cache, jax.Array]:
        cache, token_b = carry
        logits_bv, cache = step(config, params, cache, token_b[:, None])
        return cache, logits_bv.argmax(-1).astype(jnp.int32)

    return lax.fori_loop(0, STEPS, one_token, (cache, token_b))


def measure(config: ModelConfig, params: Params, batch: int, context: int, samples: int) -> dict[str, Any]:
    """One case as a record."""
    capacity = context + STEPS * (samples + 1)
    config = config.at_length(capacity, context)
    tokens_bt = jax.random.randint(jax.random.key(0), (batch, context), 0, config.vocab_size)
    run_prefill = jax.jit(partial(prefill, config, capacity_tokens=capacity))
    logits_bv, cache = run_prefill(params, tokens_bt)
    if not bool(jnp.isfinite(logits_bv).all()):
        raise FloatingPointError(f"{config.layout_name}: logits after {context} tokens are not finite")
    token_b = logits_bv.argmax(-1).astype(jnp.int32)
    compiled = decode.lower(config, params, cache, token_b).compile()
    samples_ms = []
    for _ in range(samples + 1):
        start = time.perf_counter()
        cache, token_b = compiled(params, cache, token_b)
        token_b.block_until_ready()
        samples_ms.append(1e3 * (time.perf_counter() - start) / STEPS)
    memory: Any = compiled.memory_analysis()
    middle = context + STEPS * (samples + 1) // 2
    moved = sum(steps_bytes(config, [Step(1, middle, capacity)], Storage()).values())
    return {
        "kind": "decode_step", "layout": config.layout_name, "batch": batch, "context_tokens": context,
        "samples_ms": samples_ms[1:], "step_bytes": moved if batch == 1 else None,
        "temporary_bytes": memory.temp_size_in_bytes if memory else None,
    }  # fmt: skip


def cases(given: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    for context in given.contexts:
        for layout in given.layouts:
            for batch in given.batches:
                yield layout, batch, context


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen3-30b-a3b", help="a preset (default: %(default)s), random weights")
    parser.add_argument("--layouts", nargs="+", default=["full", "5*swa(1024)+full"])
    parser.add_argument("--contexts", nargs="+", type=int, default=[1024, 16384, 32768], help="tokens before the steps")
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--samples", type=int, default=5, help=f"calls of {STEPS} steps (default: %(default)s)")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--out", type=Path, help="a file that records are added to")
    given = parser.parse_args(argv)
    base = preset(given.model)
    params = random_params(base, 0, jnp.dtype(given.dtype))
    about = {"model": given.model, "dtype": given.dtype, "invocation": invocation("eval.bench.decode")}
    for layout, batch, context in cases(given):
        config = base.with_layout(parse_layout(layout, base.n_layers))
        found = measure(config, variant_params(config, params, 0), batch, context, given.samples)
        record = {**found, **about, "time": now(), **dataclasses.asdict(environment())}
        if given.out:
            json_lines.append(given.out, record)
        ms = statistics.median(found["samples_ms"])
        read = f", {found['step_bytes'] / ms / 1e9:.2f} TB/s" if found["step_bytes"] else ""
        print(f"{layout}, batch {batch}, {context:,} tokens: {ms:.3f} ms a step, {1e3 * batch / ms:.0f} tokens/s{read}")


if __name__ == "__main__":
    main()
