"""What attention can reach: small models, one trained under each layout, asked for what stood before.

    python -m eval.bench.recall --out FOLDER

Each has Qwen3's shape in little (`MODEL`), the same first weights, the same texts in the same order and as many steps;
they are asked on texts that none has seen, of each length, by how deep the pair stood (`eval.quality.recall`).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import optax

from attention.checks import MOST_SEED, whole
from attention.evict_after import EvictAfter
from eval.bench.chain import invocation
from eval.measure.records import json_lines
from eval.measure.records.environment import environment, now
from eval.quality.recall import (
    LEAST_TOKENS,
    MOST_TOKENS,
    VALUES,
    VOCABULARY,
    recall_batches,
    recall_loss,
    recalled,
    text_lengths,
)
from refmodel.decoder import decoder
from refmodel.fit import fit
from refmodel.parts import Rope
from refmodel.specification import ModelConfig
from refmodel.weights.random import random_params

WIDTH: Final = 128
MODEL: Final = dataclasses.replace(
    decoder(
        "recall", n_layers=4, d_model=WIDTH, n_heads=4, n_kv_heads=2, head_dim=32, d_ff=256, vocab_size=VOCABULARY,
        tied_head=True, rope=Rope(10_000.0),
    ),
    embedding_scale=WIDTH**0.5,
)  # fmt: skip
"""Embeddings of unit size, as layers' outputs have: with those of the first weights, a tenth of it, which serve the
head, 3,000 steps teach nothing."""

LAYOUTS: Final = (
    "full", "swa(32)", "swa(28, sinks=4)", "3*swa(32)+full", "spans(16|full)", "moba(block=16, topk=3)",
    "evict(streaming, budget=32, chunk=16)", "evict(h2o, budget=32, chunk=16)", "evict(keydiff, budget=32, chunk=16)",
)  # fmt: skip
TEXTS: Final = 512
"""That are asked, of each length."""


def optimizer_of(steps: int, rate: float) -> optax.GradientTransformation:
    """AdamW: warmed up over a twelfth of the steps, falling as a cosine over the last quarter; norms clipped at 1."""
    warm, falls = max(1, steps // 12), steps - steps // 4
    parts = (optax.linear_schedule(0.0, rate, warm), optax.constant_schedule(rate))
    schedule = optax.join_schedules((*parts, optax.cosine_decay_schedule(rate, max(1, steps - falls))), (warm, falls))
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.01))


def asked_of(layout: str, tokens: int) -> ModelConfig:
    """The model under that layout.

    Raises `ValueError` where texts of these lengths cannot show what the layout does: questions are part of the prompt.
    """
    config = MODEL.with_layout(layout)
    for length, mixer in itertools.product(
        text_lengths(whole("--tokens", tokens, LEAST_TOKENS, MOST_TOKENS)), config.layout
    ):
        if isinstance(mixer, EvictAfter):
            raise ValueError(f"{mixer} acts after the prompt, and the questions are in it; evict acts within")
        mixer.check_prompt(length)
        mixer.check_steps([(0, length)])
    return config


def trained_and_asked(
    config: ModelConfig, *, tokens: int, batch_tokens: int, steps: int, rate: float, seed: int, folder: Path | None
) -> dict[str, Any]:
    """What a record says of one layout: the steps of this run, its loss at the end, what came back at each length."""
    losses: list[jax.Array] = []
    settings = {"tokens": tokens, "batch_tokens": batch_tokens, "steps": steps, "rate": rate, "seed": seed}
    start = time.perf_counter()
    state = fit(
        config, optimizer_of(steps, rate), random_params(config, seed, jnp.float32),
        recall_batches(tokens=tokens, batch_tokens=batch_tokens, steps=steps, seed=seed), loss=recall_loss,
        folder=folder, about=settings, on_step=lambda step, loss: losses.append(loss),
    )  # fmt: skip
    return {
        "steps_taken": len(losses),
        "last_loss_nats": float(losses[-1]) if losses else None,
        "seconds": time.perf_counter() - start,
        "recalled": [
            dataclasses.asdict(recalled(config, state.params, tokens=length, texts=TEXTS, seed=seed + 1))
            for length in text_lengths(tokens)
        ],
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS, help="one model each")
    parser.add_argument("--tokens", type=int, default=256, help="the longest texts (default: %(default)s)")
    parser.add_argument("--batch-tokens", type=int, default=8_192, help="of a step (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=8_000, help="of each model (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="the greatest learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and texts (default: %(default)s)")
    parser.add_argument("--states", type=Path, metavar="FOLDER", help="keeps training states, from which a run goes on")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="appends to FOLDER/records.jsonl")
    given = parser.parse_args(argv)
    settings = {name: getattr(given, name) for name in ("tokens", "batch_tokens", "steps", "rate", "seed")}
    try:
        configs = [asked_of(layout, given.tokens) for layout in given.layouts]
        optimizer_of(whole("--steps", given.steps, 2), given.rate)
        whole("--seed", given.seed, 0, MOST_SEED)
        whole("--batch-tokens", given.batch_tokens, given.tokens)
        if not 0 < given.rate < math.inf:
            raise ValueError(f"--rate must be a number above 0, got {given.rate}")
    except ValueError as error:
        parser.error(str(error))
    for config in configs:
        states = None if given.states is None else given.states / config.layout_name
        found = trained_and_asked(config, **settings, folder=states)
        about = {"kind": "recall", "layout": config.layout_name, "params": config.params, "time": now(), **settings}
        facts = {"invocation": invocation(__spec__.name), **dataclasses.asdict(environment())}
        json_lines.append(given.out / "records.jsonl", about | facts | found)
        shares = (sum(one["right"]) / sum(one["asked"]) for one in found["recalled"])
        print(f"{config.layout_name:<40} loss {found['last_loss_nats']}, {found['seconds']:.0f} s, recalled:",
              *(f"{share:.1%}" for share in shares), f"(chance {1 / VALUES:.1%})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
