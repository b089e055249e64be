"""This project's GPU kernels against the peers that the machine has, in turns, accuracy beside speed.

    python -m eval.bench.gpu_kernels --out FOLDER

Batch 1, bfloat16, the shapes of Qwen3-30B-A3B where a case names no others.  TFLOPS count visible pairs and rows that
exist, nothing else.  A peer that is absent, or cannot express a case, is recorded with the reason.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from attention.kernels.dense import attend_masked
from attention.pattern import UNBOUNDED, visible
from eval.bench.chain import chain_ms, invocation
from eval.bench.gpu_cases import AttentionCase, Contender, MatmulCase, Skip
from eval.bench.gpu_peers import ATTENTION, MATMUL
from eval.bench.jax_peers import Fastest
from eval.bench.kept import KernelRun, kept
from eval.measure.records.environment import environment, now
from eval.measure.records.json_lines import append

Case = AttentionCase | MatmulCase
INPUT_SETS = 2
"""Inputs that calls rotate through, so that no call finds its own in the cache."""
CHECKED_ROWS = 48
"""Rows of an output that are compared with the float32 oracle."""
READING = "reading the weights"
"""What XLA takes to sum the weights, timed in turns with the contenders: a product reads them too, and more."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="appends to FOLDER/records.jsonl")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name holds this")
    parser.add_argument("--samples", type=int, default=7, metavar="N", help="samples of each contender")
    arguments = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # two frameworks share the card
    if jax.default_backend() != "gpu":
        raise SystemExit("this benchmark needs a GPU")
    common = {
        "time": now(),
        "dtype": "bfloat16",
        "invocation": invocation(__spec__.name),
        **dataclasses.asdict(environment()),
    }
    runs = []
    every: list[Case] = [*attention_cases(), *matmul_cases()]
    cases = [case for case in every if arguments.only in case.name]
    if not cases:
        raise SystemExit(f"no case's name holds {arguments.only!r}")
    for case in cases:
        for record in run_case(case, arguments.samples):
            append(arguments.out / "records.jsonl", common | record)
            runs.append(kept(KernelRun, common | record))
    show(runs)


def attention_cases() -> list[AttentionCase]:
    """Full, windowed, and routed: half of the tokens at 512, a quarter at 4,096, a quarter full; and other heads."""
    route = np.random.default_rng(0).choice([512, 4096, UNBOUNDED], size=65536, p=[0.5, 0.25, 0.25])
    cases = [AttentionCase("causal", tokens, np.full(tokens, UNBOUNDED)) for tokens in (16384, 65536)]
    cases += [AttentionCase(f"window {window}", 65536, np.full(65536, window)) for window in (1024, 4096)]
    return [*cases, AttentionCase("routed", 65536, route, routed=True), *other_heads()]


def other_heads() -> list[AttentionCase]:
    """Of Qwen3.5-35B-A3B's full layers, Gemma 4's local ones and gpt-oss's, and lengths that no tile divides."""
    shapes = [
        (16384, UNBOUNDED, 16, 2, 256), (65536, UNBOUNDED, 16, 2, 256), (32768, 1024, 16, 8, 256),
        (16384, 128, 64, 8, 64), (8192, UNBOUNDED, 9, 3, 64), (50_001, UNBOUNDED, 32, 4, 128),
    ]  # fmt: skip
    return [
        AttentionCase(
            f"{n}/{k} of {h}, {'causal' if span == UNBOUNDED else f'window {span}'}", tokens, np.full(tokens, span),
            n_heads=n, n_kv_heads=k, head_dim=h,
        )
        for tokens, span, n, k, h in shapes
    ]  # fmt: skip


def matmul_cases() -> list[MatmulCase]:
    """Experts chosen by logits that favour some, 8 of 128 for each token."""
    cases = []
    for tokens in (8192, 1024):
        rng = np.random.default_rng(0)
        logits = rng.normal(size=(tokens, 128)) + 0.5 * rng.normal(size=128)
        expert_r = np.sort(np.argsort(-logits, axis=1)[:, :8].ravel())
        cases += [MatmulCase(f"experts {d} x {f}", expert_r, 128, d, f) for d, f in ((2048, 768), (768, 2048))]
    return cases


def run_case(case: Case, samples: int) -> list[dict[str, Any]]:
    """A record for each contender: every sample, and its error against the oracle."""
    inputs = [_inputs(case, seed) for seed in range(INPUT_SETS)]
    rows = np.sort(np.random.default_rng(1).choice(_rows(case), min(CHECKED_ROWS, _rows(case)), replace=False))
    exact = np.asarray(_exact_rows(case, inputs[0], rows))
    contenders: dict[str, tuple[Callable, list[tuple]]] = {}
    common: dict[str, Any] = {"kind": "kernel", "case": case.name, "rows": _rows(case), "flops": case.flops}
    records: list[dict[str, Any]] = []
    for name, make in _contenders(case).items():
        try:
            call, adapt = make()
            own_inputs = [adapt(*one) for one in inputs]
            error = _error(name, call(*own_inputs[0]), rows, exact)
        except Skip as reason:
            records.append(common | {"contender": name, "status": "skipped", "reason": str(reason)})
        except Exception as fault:  # a peer that breaks here must not take the others with it
            records.append(common | {"contender": name, "status": "failed", "reason": repr(fault)[:300]})
        else:
            contenders[name] = call, own_inputs
            found: dict[str, Any] = {"contender": name, "status": "ok", "relative_error": error}
            if name == "ours":
                found["tiles"] = dataclasses.asdict(case.tiles)
            if isinstance(call, Fastest):
                found["tiles"] = call.chosen
            records.append(common | found)
    if isinstance(case, MatmulCase):
        contenders[READING] = jax.jit(lambda _, w: w.sum(dtype=jnp.float32)), inputs
    times = time_in_turns(contenders, samples)
    floor = {"weights_read_ms": times[READING]} if READING in times else {}
    for record in records:
        if record["status"] == "ok":
            record |= floor
            record["samples_ms"] = times[record["contender"]]
            record["tflops"] = case.flops / statistics.median(record["samples_ms"]) / 1e9
    return records


def time_in_turns(contenders: Mapping[str, tuple[Callable, list[tuple]]], samples: int) -> dict[str, list[float]]:
    """Milliseconds per call of each: a sample is a chain of calls over rotating inputs, all outputs waited for."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    chains = {}
    for name, (call, inputs) in contenders.items():
        chain_ms(call, inputs, 2)
        chains[name] = max(2, min(50, round(50 / chain_ms(call, inputs, 2))))
    names = list(contenders)
    for turn in range(samples):
        first = turn % len(names)  # a hot card runs slower: nobody always comes after the same other
        for name in names[first:] + names[:first]:
            call, inputs = contenders[name]
            times[name].append(chain_ms(call, inputs, chains[name]))
    return times


def _contenders(case: Case) -> dict[str, Callable[[], Contender]]:
    """By name, each made of the case when it is called."""
    if isinstance(case, AttentionCase):
        return {name: partial(make, case) for name, make in ATTENTION.items()}
    return {name: partial(make, case) for name, make in MATMUL.items()}


def _rows(case: Case) -> int:
    return case.tokens if isinstance(case, AttentionCase) else case.expert_r.size


def _inputs(case: Case, seed: int) -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(seed), 3)
    if isinstance(case, AttentionCase):
        heads = case.n_heads, case.n_kv_heads, case.n_kv_heads
        shapes: list[tuple[int, ...]] = [(1, case.tokens, n, case.head_dim) for n in heads]
    else:
        shapes = [(case.expert_r.size, case.depth), (case.experts, case.depth, case.width)]
    return tuple(jax.random.normal(key, shape, jnp.bfloat16) for key, shape in zip(keys, shapes, strict=False))


def _exact_rows(case: Case, inputs: tuple[jax.Array, ...], rows: np.ndarray) -> jax.Array:
    if isinstance(case, MatmulCase):
        x, w = (a.astype(jnp.float32) for a in (inputs[0][rows], inputs[1][case.expert_r[rows]]))
        return jnp.einsum("rd,rdf->rf", x, w, precision="highest")
    q, k, v = (x.astype(jnp.float32) for x in (inputs[0][:, rows], *inputs[1:]))
    mask_ts = visible(rows[:, None], np.arange(case.tokens)[None], case.span_t[rows][:, None], 0)
    mask_bnts = jnp.broadcast_to(mask_ts, (1, case.n_heads, *mask_ts.shape))
    return attend_masked(q, k, v, mask_bnts)[0][0]


def _error(name: str, out: Any, rows: np.ndarray, exact: np.ndarray) -> float:
    """||out - exact|| / ||exact|| over the checked rows."""
    if not isinstance(out, jax.Array):
        out = out.transpose(1, 2) if out.ndim == 4 else out
        out = out[0][rows] if out.ndim == 4 else out[rows]
        out = out.float().cpu().numpy()
    else:
        out = np.asarray((out[0] if out.ndim == 4 else out)[rows].astype(jnp.float32))
    return float(np.linalg.norm(out - exact) / np.linalg.norm(exact))


def show(runs: Sequence[KernelRun]) -> None:
    """Per case: speed of each contender, ours over theirs, error."""
    table = Table(title=f"{runs[0].device_kind}, bfloat16")
    for header in ("case", "rows", "contender", "median ms", "TFLOPS", "ours / theirs", "relative error"):
        table.add_column(header)
    our_tflops = {(run.case, run.rows): run.tflops for run in runs if run.contender == "ours" and run.status == "ok"}
    for run in runs:
        cells = [run.case, f"{run.rows:,}", run.contender]
        if run.status == "ok":
            ratio = our_tflops.get((run.case, run.rows), float("nan")) / run.tflops
            median = f"{statistics.median(run.samples_ms):.3f}"
            cells += [median, f"{run.tflops:.0f}", f"{ratio:.2f}x", f"{run.relative_error:.1e}"]
        else:
            cells += [run.status, "", "", run.reason[:48]]
        table.add_row(*cells)
    console = Console(width=160)
    console.print(table)
    for run in runs:
        if run.contender == "ours" and run.weights_read_ms:
            read_ms, took_ms = min(run.weights_read_ms), statistics.median(run.samples_ms)
            case = f"{run.case}, {run.rows:,} rows"
            console.print(f"{case}: {READING} once takes {read_ms:.3f} ms, {read_ms / took_ms:.0%} of ours")
    for name in ("ours", "ours, Hopper"):
        tflops = {run.case: run.tflops for run in runs if (run.contender, run.rows, run.status) == (name, 65536, "ok")}
        for case in tflops if "causal" in tflops else ():
            if not case.startswith("experts"):
                console.print(f"realisation of {case}, attention alone, {name}: {tflops[case] / tflops['causal']:.2f}")


if __name__ == "__main__":
    main()
