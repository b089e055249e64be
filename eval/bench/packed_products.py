"""A layer's products with packed weights against those with bfloat16 ones, in turns, on a GPU.

    python -m eval.bench.packed_products --out FOLDER

The shapes of Qwen3-30B-A3B: experts of 2048 x 768, 8 of 128 a token; projections of 32 and 4 heads of 128.  A sample is
a chain of calls; a call goes through `LAYERS` layers, whose weights no cache holds, and what one layer gives is added
to what the next one takes.  Nothing but the weights' coding differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.console import Console
from rich.table import Table

from eval.bench.chain import invocation
from eval.bench.gpu_kernels import time_in_turns
from eval.measure.records.environment import environment, now
from eval.measure.records.json_lines import append
from refmodel.kernels.grouped import expert_ffn
from refmodel.kernels.projection import project
from refmodel.packed.codings import parse_coding
from refmodel.packed.packed import Packed

LAYERS = 8
D_MODEL, EXPERTS, D_EXPERT, CHOICES = 2048, 128, 768, 8
HEADS, KV_HEADS, HEAD_DIM = 32, 4, 128
PLAIN = "bf16"
Weight = Any
"""A stack: an array, or `Packed`."""
Layer = Callable[[jax.Array, jax.Array], jax.Array]
"""What a layer adds to x [rows, D], by its index."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="appends to FOLDER/records.jsonl")
    parser.add_argument("--weights", nargs="+", default=["int4(32)", "int8(128)", "fp8"], metavar="CODING")
    parser.add_argument("--tokens", nargs="+", type=int, default=[1, 8, 1024, 16_384], metavar="N")
    parser.add_argument("--only", choices=("experts", "projections"), help="one of the two")
    parser.add_argument("--samples", type=int, default=7, metavar="N", help="samples of each coding")
    arguments = parser.parse_args()
    if jax.default_backend() != "gpu":
        raise SystemExit("this benchmark needs a GPU")
    common = {
        "time": now(),
        "dtype": PLAIN,
        "invocation": invocation(__spec__.name),
        **dataclasses.asdict(environment()),
    }
    codings = [PLAIN, *arguments.weights]
    table = Table(title=f"{common['device_kind']}: milliseconds of a layer")
    for header in ("products", "tokens", "weights", "median ms", f"of {PLAIN}", "GB/s of weights"):
        table.add_column(header)
    for name, draw in (("experts", draw_experts), ("projections", draw_projections)):
        if arguments.only in (None, name):
            for record in measure(name, {coding: draw(coding) for coding in codings}, arguments):
                append(arguments.out / "records.jsonl", common | record)
                table.add_row(*shown(record))
    Console(width=100).print(table)


def measure(name: str, weights: dict[str, tuple[Weight, ...]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A record for each number of tokens and coding, every sample in it."""
    records = []
    for tokens in arguments.tokens:
        make = {"experts": experts_call, "projections": projections_call}[name]
        calls = {coding: make(tokens, stacks) for coding, stacks in weights.items()}
        times = time_in_turns(
            {coding: (call, inputs) for coding, (call, inputs, _) in calls.items()}, arguments.samples
        )
        for coding, (_, _, read_bytes) in calls.items():
            each = [sample / LAYERS for sample in times[coding]]
            ratio = statistics.median(each) / (statistics.median(times[PLAIN]) / LAYERS)
            records.append({
                "kind": "packed product", "case": name, "tokens": tokens, "weights": coding, "samples_ms": each,
                "of_plain": ratio, "read_bytes": read_bytes,
            })  # fmt: skip
    return records


def shown(record: dict[str, Any]) -> Sequence[str]:
    """A row of the table."""
    median_ms = statistics.median(record["samples_ms"])
    speed = f"{record['read_bytes'] / median_ms / 1e6:,.0f}"
    return (
        record["case"], f"{record['tokens']:,}", record["weights"], f"{median_ms:.4f}", f"{record['of_plain']:.3f}",
        speed,
    )  # fmt: skip


def draw(coding: str, seed: int, copies: tuple[int, ...], rows: int, depth: int, outer: tuple[int, ...] = ()) -> Weight:
    """A stack [L, *copies, rows, depth]; in bfloat16 as the model holds it, [L, *copies, depth, rows]."""
    key, lead, std = jax.random.key(seed), (LAYERS, *copies), depth**-0.5
    if coding == PLAIN:
        return jax.jit(lambda: std * jax.random.normal(key, (*lead, depth, rows), jnp.bfloat16))()
    packing, shape = parse_coding(coding), (*lead, rows, depth)
    parts = jax.jit(lambda: packing.draw(key, shape, std))()
    return Packed(parts, packing, shape, jnp.dtype(jnp.bfloat16), outer)


def draw_experts(coding: str) -> tuple[Weight, ...]:
    """Gate, up and down."""
    sides = (D_EXPERT, D_MODEL), (D_EXPERT, D_MODEL), (D_MODEL, D_EXPERT)
    return tuple(draw(coding, seed, (EXPERTS,), *side) for seed, side in enumerate(sides))


def draw_projections(coding: str) -> tuple[Weight, ...]:
    """Of queries, keys, values and of what attention gives."""
    q, kv = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    sides = (q, D_MODEL), (kv, D_MODEL), (kv, D_MODEL), (D_MODEL, q)
    return tuple(draw(coding, seed, (), *side) for seed, side in enumerate(sides))


Call = tuple[Callable[..., jax.Array], list[tuple], int]
"""A function, the inputs that calls rotate through, and the bytes of weights that a layer reads."""


def experts_call(tokens: int, stacks: tuple[Weight, ...]) -> Call:
    """The routed experts of every layer, some of them more popular than others."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(LAYERS, tokens, EXPERTS)) + 0.5 * rng.normal(size=(LAYERS, 1, EXPERTS))
    expert_ltk = np.argsort(-logits, axis=-1)[..., :CHOICES].astype(np.int32)
    used = statistics.mean(len(np.unique(one)) for one in expert_ltk)
    weight_tk = jnp.full((tokens, CHOICES), 1 / CHOICES, jnp.float32)

    def call(x_td: jax.Array, expert_ltk: jax.Array, stacks: tuple[Weight, ...]) -> jax.Array:
        gate, up, down = stacks
        return through(lambda x, layer: expert_ffn(x, expert_ltk[layer], weight_tk, gate, up, down, layer), x_td)

    return (
        jax.jit(call),
        [(x, jnp.asarray(expert_ltk), stacks) for x in rows_of(tokens)],
        _bytes(stacks, used / EXPERTS),
    )


def projections_call(tokens: int, stacks: tuple[Weight, ...]) -> Call:
    """Queries, keys and values, then the output's projection of their sum."""

    def layer_of(x: jax.Array, layer: jax.Array, stacks: tuple[Weight, ...]) -> jax.Array:
        *qkv, o = stacks
        q, k, v = project(x[None], tuple(qkv), layer)
        (out,) = project(q + jnp.tile(k + v, HEADS // KV_HEADS), (o,), layer)
        return out[0]

    def call(x_td: jax.Array, stacks: tuple[Weight, ...]) -> jax.Array:
        return through(partial(layer_of, stacks=stacks), x_td)

    return jax.jit(call), [(x, stacks) for x in rows_of(tokens)], _bytes(stacks, 1.0)


def through(layer_of: Layer, x_td: jax.Array) -> jax.Array:
    """x after `LAYERS` layers, one after the other."""
    return lax.scan(lambda x, layer: (x + layer_of(x, layer), None), x_td, jnp.arange(LAYERS))[0]


def rows_of(tokens: int) -> list[jax.Array]:
    return [jax.random.normal(jax.random.key(seed), (tokens, D_MODEL), jnp.bfloat16) for seed in range(2)]


def _bytes(stacks: tuple[Weight, ...], share: float) -> int:
    return round(share * sum(stack.nbytes for stack in stacks) / LAYERS)


if __name__ == "__main__":
    main()
