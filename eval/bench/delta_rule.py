"""The gated delta rule over a prompt: this project's kernels, plain XLA and flash-linear-attention's, in turns.

    python -m eval.bench.delta_rule --out eval/results/h200-delta-rule

Batch 1, bfloat16, the heads of Qwen3.5-35B-A3B: 16 for keys and 32 for values, of 128.  TFLOPS count the recurrence,
6·H·Hv for each token and value head, which the chunked forms exceed.  An absent peer is recorded with the reason.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from attention.kernels.choose_delta_rule import run_delta_rule
from attention.kernels.delta_rule import gated_delta_rule
from eval.bench.chain import invocation
from eval.bench.gpu_cases import Skip
from eval.bench.gpu_kernels import INPUT_SETS, time_in_turns
from eval.bench.gpu_results import delta_rule_table
from eval.bench.kept import KernelRun, kept
from eval.measure.records.environment import environment, now
from eval.measure.records.json_lines import append

KEY_HEADS, VALUE_HEADS, SIZE = 16, 32, 128
CASE: Final = "gated delta rule"
PEER: Final = "flash-linear-attention"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="appends to FOLDER/records.jsonl")
    parser.add_argument("--tokens", type=int, nargs="+", default=[8192, 32768], metavar="N")
    parser.add_argument("--samples", type=int, default=7, metavar="N", help="samples of each contender")
    given = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # two frameworks share the card
    if jax.default_backend() != "gpu":
        raise SystemExit("this benchmark needs a GPU")
    common = {
        "time": now(), "dtype": "bfloat16", "invocation": invocation(__spec__.name),
        **dataclasses.asdict(environment()),
    }  # fmt: skip
    runs = []
    for tokens in given.tokens:
        for record in run_case(tokens, given.samples):
            append(given.out / "records.jsonl", common | record)
            runs.append(kept(KernelRun, common | record))
    Console(width=160).print(delta_rule_table(runs, given.out / "records.jsonl").to_markdown())


def run_case(tokens: int, samples: int) -> list[dict[str, Any]]:
    """A record for each contender: every sample, and how far it is from the recurrence in float32."""
    inputs = [operands(tokens, seed) for seed in range(INPUT_SETS)]
    exact = np.asarray(jax.jit(gated_delta_rule)(*(x.astype(jnp.float32) for x in inputs[0]))[0])
    flops = 6 * SIZE * SIZE * VALUE_HEADS * tokens
    common = {"kind": "kernel", "case": CASE, "rows": tokens, "flops": flops}
    contenders: dict[str, tuple[Callable[..., Any], list[tuple]]] = {}
    records: list[dict[str, Any]] = []
    for name, make in {"ours": ours, "plain XLA": plain, PEER: fla}.items():
        try:
            call, adapt = make()
            own = [adapt(*one) for one in inputs]
            found = _in_float32(call(*own[0]))
        except Skip as reason:
            records.append(common | {"contender": name, "status": "skipped", "reason": str(reason)})
        except Exception as fault:  # a peer that breaks here must not take the others with it
            records.append(common | {"contender": name, "status": "failed", "reason": repr(fault)[:300]})
        else:
            contenders[name] = call, own
            error = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
            records.append(common | {"contender": name, "status": "ok", "relative_error": error})
    times = time_in_turns(contenders, samples)
    for record in records:
        if record["status"] == "ok":
            record["samples_ms"] = times[record["contender"]]
            record["tflops"] = flops / statistics.median(record["samples_ms"]) / 1e9
    return records


def _in_float32(out: Any) -> np.ndarray:
    return np.asarray(out.astype(jnp.float32)) if isinstance(out, jax.Array) else out.float().cpu().numpy()


def operands(tokens: int, seed: int) -> tuple[jax.Array, ...]:
    """q, k, v, log decays, rates and an empty state; decays as the layer begins its training with."""
    keys = jax.random.split(jax.random.key(seed), 6)
    q, k = (jax.random.normal(key, (1, tokens, KEY_HEADS, SIZE)) for key in keys[:2])
    q, k = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    v = jax.random.normal(keys[2], (1, tokens, VALUE_HEADS, SIZE))
    rate = jax.random.uniform(keys[3], (VALUE_HEADS,), minval=0.01, maxval=16.0)
    g = -rate * jax.nn.softplus(jax.random.normal(keys[4], (1, tokens, VALUE_HEADS)) - 4)
    beta = jax.nn.sigmoid(jax.random.normal(keys[5], (1, tokens, VALUE_HEADS)))
    state = jnp.zeros((1, VALUE_HEADS, SIZE, SIZE))
    return *(x.astype(jnp.bfloat16) for x in (q * SIZE**-0.5, k, v)), g, beta, state


Contender = tuple[Callable[..., Any], Callable[..., tuple]]
"""A call that gives the output, and what makes its operands from ours."""


def ours() -> Contender:
    return jax.jit(lambda *x: run_delta_rule(*x)[0]), lambda *x: x


def plain() -> Contender:
    return jax.jit(lambda *x: gated_delta_rule(*x)[0]), lambda *x: x


def fla() -> Contender:
    """Its chunked kernels, heads and dtypes as its layer gives them."""
    try:
        import torch
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    except ImportError as error:
        raise Skip(f"not installed: {error}") from error

    @torch.no_grad()
    def call(q: Any, k: Any, v: Any, g: Any, beta: Any, state: Any) -> Any:
        return chunk_gated_delta_rule(q, k, v, g, beta, scale=1.0, initial_state=state, output_final_state=True)[0]

    def adapt(*x: jax.Array) -> tuple:
        own = [torch.from_numpy(np.asarray(one.astype(jnp.float32))).cuda() for one in x]
        return *(one.bfloat16() for one in own[:3]), own[3], own[4].bfloat16(), own[5]

    return call, adapt


if __name__ == "__main__":
    main()
