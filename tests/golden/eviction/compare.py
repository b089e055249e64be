"""How far an evicting model is from what kvpress computed.  No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from refmodel.cache import init_cache
from refmodel.model import step
from tests.checkpoints import load

BUDGET, CHUNK = 18, 9
PROMPT, TOKENS = 5 * CHUNK, 52
SINKS, RECENT, LAG = 3, 6, 4

_RESERVED: Final = MappingProxyType({
    "streaming": f"sinks={SINKS},recent=0",
    "snapkv": f"sinks=0,recent={RECENT}",
    "pyramidkv": f"sinks=0,recent={RECENT}",
    "adakv": f"sinks=0,recent={RECENT}",
    "tova": "sinks=0,recent=1",
    "knorm": "sinks=0,recent=0",
    "keydiff": "sinks=0,recent=0",
    "expected_attention": f"sinks={SINKS},recent=0",
    "lagkv": f"sinks={SINKS},recent={LAG}",
})  # fmt: skip

IN_CHUNKS: Final = ("streaming", "snapkv", "tova", "knorm", "keydiff")
"""kvpress takes the others' statistics from the chunk alone, or counts positions from the chunk's start."""

AFTER_PROMPT: Final = tuple(_RESERVED)


class Errors(NamedTuple):
    """The largest absolute error of the logits, and for each layer whether every head holds the same positions."""

    logits: float
    same_positions: list[bool]


def errors(
    folder: Path,
    policy: str,
    golden: Mapping[str, np.ndarray],
    in_chunks: bool,
    steps: tuple[int, ...] = (PROMPT,),
    **changes: int,
) -> Errors:
    """Of the model in `folder` against `golden`, the tokens fed in steps of the given sizes, as many as they sum up to.

    `changes` puts other parameters in the place of those that kvpress was given.
    """
    total = sum(steps)
    tokens_bt, logits_btv = golden["tokens"][:, :total], golden["logits"][:, :total]
    n_layers = sum(name.startswith("positions") for name in golden)
    theirs = [golden[f"positions{layer}"] for layer in range(n_layers)]
    theirs = [np.where(positions < total, positions, -1) for positions in theirs]
    spec = layout(policy, in_chunks, **changes)
    if policy == "pyramidkv":  # kvpress rounds the layers' budgets otherwise; the score is SnapKV's
        budgets = [int(((positions >= 0) & (positions < PROMPT)).sum(-1).max()) for positions in theirs]
        spec = "+".join(layout("snapkv", False, budget=budget) for budget in budgets)
    found_btv, ours = run(folder, spec, tokens_bt, steps)
    return Errors(
        float(np.abs(found_btv - logits_btv).max()),
        [same_positions(one, other) for one, other in zip(ours, theirs, strict=True)],
    )


def layout(policy: str, in_chunks: bool, budget: int = BUDGET, chunk: int = CHUNK) -> str:
    """Our spelling of kvpress's setting."""
    if in_chunks:
        return f"evict({policy},budget={budget},chunk={chunk},{_RESERVED[policy]})"
    return f"evict_after({policy},budget={budget},{_RESERVED[policy]})"


def run(folder: Path, spec: str, tokens_bt: np.ndarray, steps: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Logits [B, T, V], and held positions [L, B, K, S]: ascending, then -1."""
    config, params = load(folder, jnp.float32)
    config = config.with_layout(spec)
    feed = jax.jit(lambda params, cache, tokens_bt: step(config, params, cache, tokens_bt, logits="all"))
    cache, logits = init_cache(config, *tokens_bt.shape), []
    for part_bt in np.split(tokens_bt, np.cumsum(steps)[:-1], axis=1):
        out, cache = feed(params, cache, part_bt)
        logits.append(out)
    positions = np.concatenate([np.asarray(run.positions) for run in cache.runs])  # layers apart, or all alike
    positions = np.sort(np.where(positions < 0, np.iinfo(np.int32).max, positions), axis=-1)
    return np.concatenate(logits, axis=1), np.where(positions == np.iinfo(np.int32).max, -1, positions)


def same_positions(ours_bks: np.ndarray, theirs_bkn: np.ndarray) -> bool:
    """Whether one layer's heads hold the same, whatever the padding."""
    n = theirs_bkn.shape[-1]
    return np.array_equal(ours_bks[..., :n], theirs_bkn) and (ours_bks[..., n:] < 0).all()
