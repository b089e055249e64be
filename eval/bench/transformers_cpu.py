"""Prefill on the CPU against transformers with torch's SDPA, in turns.  Needs the `parity` extra.

    python -m eval.bench.transformers_cpu --tokens 2048 8192 --out results.jsonl

SmolLM2-135M in float32 on all cores, both ways from the same weights: logits of the last token and a filled cache.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

from eval.measure.records.environment import environment, now
from eval.measure.records.json_lines import append
from eval.measure.timing import Budget, Program, compile_program, time_programs
from refmodel.checkpoint import open_checkpoint
from refmodel.default_model import default_gguf, default_text
from refmodel.model import Params, prefill
from refmodel.presets import preset
from refmodel.specification import ModelConfig


class Contenders(NamedTuple):
    """The same weights in both, and tokens to feed them."""

    config: ModelConfig
    params: Params
    theirs: transformers.PreTrainedModel
    tokens: np.ndarray
    weights: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192], metavar="N", help="prompt lengths")
    parser.add_argument("--samples", type=int, default=3, metavar="N", help="runs of each, taken in turns")
    parser.add_argument("--out", type=Path, help="append one JSON line per length to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    contenders = _pretrained() if _has_gguf() else _random()
    table = Table(title=f"Prefill of {contenders.config.name} ({contenders.weights} weights), float32")
    for header in ("tokens", "ours ms", "transformers ms", "theirs / ours", "samples each", "max logit error"):
        table.add_column(header, justify="right")
    for n_tokens in arguments.tokens:
        record = measure(contenders, n_tokens, arguments.samples)
        ours_ms, theirs_ms = (statistics.median(record[name]["samples_ms"]) for name in ("ours", "transformers"))
        n_samples = len(record["ours"]["samples_ms"])
        table.add_row(
            str(n_tokens), f"{ours_ms:.0f}", f"{theirs_ms:.0f}", f"{theirs_ms / ours_ms:.2f}", str(n_samples),
            f"{record['max_logit_error']:.1e}",
        )  # fmt: skip
        if arguments.out:
            append(arguments.out, record)
    console = Console()
    console.print(table)
    console.print(f"XLA on {os.cpu_count()} cores, torch with {torch.get_num_threads()} threads; medians")


def measure(contenders: Contenders, n_tokens: int, samples: int) -> dict[str, Any]:
    """Every sample of both at one length, and how far their logits are apart.

    Raises `ValueError` for a length that the model was not made for or that there is no text for.
    """
    config, params, theirs, tokens, weights = contenders
    if not 1 <= n_tokens <= min(config.max_positions, tokens.size):
        raise ValueError(f"tokens must be in 1..{min(config.max_positions, tokens.size)}, got {n_tokens}")
    tokens_bt = tokens[None, :n_tokens]

    @torch.inference_mode()
    def their_prefill(tokens_bt: torch.Tensor) -> Any:
        return theirs(tokens_bt, use_cache=True, logits_to_keep=1)

    programs = {
        "ours": compile_program(partial(prefill, config), params, jnp.asarray(tokens_bt, jnp.int32)),
        "transformers": Program(their_prefill, (torch.from_numpy(tokens_bt),), lower_ms=0, compile_ms=0),
    }
    ours_bv, theirs_bv = (program.compiled(*program.arguments)[0] for program in programs.values())
    timings = time_programs(programs, Budget(seconds=0, min_samples=samples, max_samples=samples, again_s=0))
    return {
        "kind": "prefill_against_transformers", "model": config.name, "weights": weights, "tokens": n_tokens,
        "dtype": "float32", **{name: asdict(timing) for name, timing in timings.items()},
        "max_logit_error": float(np.abs(np.asarray(ours_bv) - theirs_bv[:, -1].numpy()).max()),
        "torch_threads": torch.get_num_threads(), "time": now(),
        **asdict(environment()),
        **{f"{name}_version": importlib.metadata.version(name) for name in ("torch", "transformers")},
    }  # fmt: skip


def _has_gguf() -> bool:
    try:
        return default_gguf().is_file()
    except ValueError:
        return False


def _pretrained() -> Contenders:
    path = default_gguf()
    ours = open_checkpoint(path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="sdpa"
    )
    tokenizer = ours.tokenizer()
    assert tokenizer is not None  # the file holds one
    tokens = np.array(tokenizer.encode(default_text()).ids)
    return Contenders(ours.config, ours.params(jnp.float32), theirs, tokens, "pretrained")


def _random() -> Contenders:
    """The same shape as transformers initialises it, handed over in a folder."""
    shape = preset("smollm2-135m")
    d_ff = shape.layers[0].parameter("ffn.gate").shape[1]
    settings = transformers.LlamaConfig(
        hidden_size=shape.d_model, num_hidden_layers=shape.n_layers, num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads, vocab_size=shape.vocab_size, intermediate_size=d_ff,
        rms_norm_eps=shape.final_norm.eps, max_position_embeddings=shape.max_positions, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": shape.layers[0].rope.theta}, attn_implementation="sdpa",
    )  # fmt: skip
    theirs = transformers.LlamaForCausalLM(settings).eval()
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, shape.name)
        theirs.save_pretrained(folder)
        ours = open_checkpoint(folder)
        config, params = ours.config, ours.params(jnp.float32)
    tokens = np.random.default_rng(0).integers(shape.vocab_size, size=shape.max_positions)
    return Contenders(config, params, theirs, tokens, "random")


if __name__ == "__main__":
    main()
