"""Prefill on a GPU against transformers' Qwen3MoeForCausalLM, in one run on one card.  Needs torch and transformers.

    python -m eval.bench.transformers_gpu --out eval/results/h100-qwen3-30b-a3b

Identical shapes, bfloat16, random weights, batch 1, last-token logits and a filled cache on both sides; theirs with
SDPA and grouped-matmul experts.  Two models of 61 GB do not fit one card, so each runs in a process of its own, one
after the other.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from eval.bench.chain import invocation
from eval.bench.kept import ModelRun, read_kept
from eval.measure.device import opens_a_gpu
from eval.measure.records.environment import environment, git_state, now
from eval.measure.records.json_lines import append
from eval.measure.timing import Timing, compile_program
from refmodel.model import prefill
from refmodel.parts import Experts
from refmodel.presets import preset
from refmodel.specification import ModelConfig
from refmodel.weights.random import random_params

LENGTHS = tuple(1024 << k for k in range(7))
CONTENDERS = "transformers", "ours"
KIND = "prefill_against_transformers"
FILE_NAME = "transformers.jsonl"
NO_GPU = 3
"""Exit status of a contender that found none: the other will not find one either."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen3-30b-a3b", metavar="PRESET", help="default: %(default)s")
    parser.add_argument("--layouts", nargs="+", default=["full"], metavar="LAYOUT", help="ours (default: full)")
    parser.add_argument("--tokens", type=int, nargs="+", default=list(LENGTHS), metavar="N", help="prompt lengths")
    parser.add_argument("--samples", type=int, default=3, metavar="N", help="runs of each after the first")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="appends to FOLDER/transformers.jsonl"
    )
    parser.add_argument("--contender", choices=CONTENDERS, help="measure this one alone, in this process")
    arguments = parser.parse_args()
    if arguments.contender:
        refuse_without_gpu(arguments.contender)
        return measure(arguments)
    for contender in CONTENDERS:
        done = subprocess.run(
            [sys.executable, "-m", __spec__.name, *sys.argv[1:], "--contender", contender], check=False
        )
        if done.returncode == NO_GPU:
            raise SystemExit(NO_GPU)
        if done.returncode:
            Console().print(f"{contender} ended with exit status {done.returncode}; the other's figures stand")
    Console(width=160).print(ratios(read_kept(ModelRun, arguments.out / FILE_NAME)))


def refuse_without_gpu(contender: str) -> None:
    """Ends the process in one line where this contender has no GPU, or is not installed."""
    if contender == "ours":
        has_gpu = opens_a_gpu()
    else:
        missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
        if missing:
            raise SystemExit(f"transformers' side needs {' and '.join(missing)}")
        import torch

        has_gpu = torch.cuda.is_available()
    if not has_gpu:
        print("this benchmark needs a GPU", file=sys.stderr)
        raise SystemExit(NO_GPU)


def measure(arguments: argparse.Namespace) -> None:
    """One record per layout and length of one contender, appended as soon as it exists."""
    config = preset(arguments.model)
    if arguments.contender == "ours":
        params = random_params(config, 0, jnp.bfloat16)
        runs = [(layout, our_prefill(config.with_layout(layout), params)) for layout in arguments.layouts]
    else:
        runs = [("full", their_prefill(config))]
    common = {"kind": KIND, "model": config.name, "weights": "random", "dtype": "bfloat16"}
    common |= {"contender": arguments.contender, "status": "ok", "invocation": invocation(__spec__.name)}
    common |= _environment(arguments.contender)
    for layout, at_length in runs:
        for tokens in arguments.tokens:
            result: dict[str, Any]
            try:
                timing = sample(at_length(tokens), arguments.samples)
                result, figure = {"timing": asdict(timing)}, f"{timing.median_ms:,.1f} ms"
            except Exception as fault:  # a length that does not fit must not take the others with it
                figure = f"{type(fault).__name__}: {str(fault).strip()[:200]}"
                result = {"status": "failed", "error": figure}
            append(arguments.out / FILE_NAME, common | {"layout": layout, "tokens": tokens, "time": now()} | result)
            print(f"{arguments.contender} {layout} {tokens:,}: {figure}", flush=True)


def our_prefill(config: ModelConfig, params: Any) -> Callable[[int], Callable[[], Any]]:
    """At a length: a call that returns when its outputs exist."""

    def at_length(tokens: int) -> Callable[[], Any]:
        tokens_bt = jax.random.randint(jax.random.key(1), (1, tokens), 0, config.vocab_size)
        return compile_program(lambda params, tokens_bt: prefill(config, params, tokens_bt), params, tokens_bt).run_ms

    return at_length


def their_prefill(config: ModelConfig) -> Callable[[int], Callable[[], Any]]:
    """The same for transformers."""
    import torch
    import transformers

    experts = config.layers[0].feed_forward
    assert isinstance(experts, Experts)
    settings = transformers.Qwen3MoeConfig(
        vocab_size=config.vocab_size, hidden_size=config.d_model, num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads, num_key_value_heads=config.n_kv_heads, head_dim=config.head_dim,
        num_experts=experts.n_experts, num_experts_per_tok=experts.experts_per_token,
        moe_intermediate_size=experts.d_expert, norm_topk_prob=experts.norm_topk_prob,
        rms_norm_eps=config.final_norm.eps,
        max_position_embeddings=max(LENGTHS), tie_word_embeddings=config.tied_head, use_cache=True,
    )  # fmt: skip
    with torch.device("cuda"):
        model = transformers.AutoModelForCausalLM.from_config(
            settings, dtype=torch.bfloat16, attn_implementation="sdpa", experts_implementation="grouped_mm"
        ).eval()

    def at_length(tokens: int) -> Callable[[], Any]:
        tokens_bt = torch.randint(config.vocab_size, (1, tokens), device="cuda")

        @torch.inference_mode()
        def run() -> None:
            model(tokens_bt, use_cache=True, logits_to_keep=1)
            torch.cuda.synchronize()

        return run

    return at_length


def sample(run: Callable[[], Any], samples: int) -> Timing:
    """Milliseconds of the first call and of the later ones."""
    times = []
    for _ in range(samples + 1):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return Timing(tuple(times[1:]), warmup_ms=times[0])


def _environment(contender: str) -> dict[str, Any]:
    if contender == "ours":
        return asdict(environment())
    import torch  # the card's memory is all theirs: JAX must not open it here

    versions = {f"{name}_version": importlib.metadata.version(name) for name in ("torch", "transformers")}
    machine = {"device_kind": torch.cuda.get_device_name(), "cores": os.cpu_count()}
    return machine | versions | dict(zip(("git_commit", "git_dirty"), git_state(Path(__file__)), strict=True))


def ratios(runs: Iterable[ModelRun]) -> Table:
    """Theirs over ours at each length and layout; theirs is always full attention."""
    newest = {(run.contender, run.layout, run.tokens): run.timing for run in runs if run.timing}
    table = Table(title="whole prefill, bfloat16, medians")
    for header in ("layout", "tokens", "transformers ms", "ours ms", "theirs / ours"):
        table.add_column(header, justify="right")
    for (contender, layout, tokens), ours in newest.items():
        theirs = newest.get(("transformers", "full", tokens))
        if contender == "ours" and theirs:
            ratio = f"{theirs.median_ms / ours.median_ms:.2f}x"
            table.add_row(layout, f"{tokens:,}", f"{theirs.median_ms:,.1f}", f"{ours.median_ms:,.1f}", ratio)
    return table


if __name__ == "__main__":
    main()
