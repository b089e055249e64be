"""Small awkward eviction problems, and how to run one."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from attention.attend import attend
from attention.cost import Depth, Heads
from attention.evict import Evict
from attention.eviction.base import Eviction
from attention.eviction.cache import EvictingCache
from attention.eviction.chunks import attend_in_chunks
from attention.eviction.policy import Retention
from attention.eviction.registry import POLICIES
from tests.operands import on_device

THETA = 100.0


class Tokens(NamedTuple):
    """q [B, T, N, H], k and v [B, T, K, H]."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray


def random_tokens(seed: int, batch: int, tokens: int, n_heads: int, n_kv_heads: int, head_dim: int) -> Tokens:
    rng = np.random.default_rng(seed)
    shapes = ((batch, tokens, heads, head_dim) for heads in (n_heads, n_kv_heads, n_kv_heads))
    return Tokens(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


@st.composite
def tokens(draw, least: int = 29, most: int = 61) -> Tokens:
    n_kv_heads, group, head_dim = draw(st.sampled_from(((1, 3, 4), (2, 1, 6), (3, 2, 4), (2, 3, 10))))
    batch, length = draw(st.sampled_from((1, 2))), draw(st.integers(least, most))
    return random_tokens(draw(st.integers(0, 2**32 - 1)), batch, length, group * n_kv_heads, n_kv_heads, head_dim)


@st.composite
def parameters(draw, policy: str) -> dict:
    """Of `Evict`, all small."""
    sinks, recent = draw(st.integers(0, 3)), draw(st.integers(max(1, POLICIES[policy].least_recent), 5))
    reserved = POLICIES[policy]().reserved(Retention(10**6, sinks, recent))
    budget = draw(st.integers(reserved, reserved + 17))
    return {"policy": POLICIES[policy](), "budget": budget, "sinks": sinks, "recent": recent}


@st.composite
def evictions(draw, policy: str) -> Evict:
    given = draw(parameters(policy))
    return Evict(**given, chunk=draw(st.integers(given["recent"], 13)))


@st.composite
def allowed_steps(draw, total: int, chunk: int) -> tuple[int, ...]:
    """A way to feed so many tokens that never starts inside a chunk and ends beyond it."""
    steps, length = [], 0
    while length < total:
        room = chunk - length % chunk
        whole = (total - length) // chunk * chunk if room == chunk else 0
        size = draw(st.sampled_from((1, 2, max(room, whole), room)))  # few sizes: each is a program to compile
        steps.append(min(size, room if room < chunk else total, total - length))
        length += steps[-1]
    return tuple(steps)


@partial(jax.jit, static_argnums=(0, 6, 7))
def _step(eviction, kept, length, layer, tokens, positions, n_layers, impl):
    attended, kept = attend_in_chunks(
        eviction, partial(attend, impl=impl), kept, *tokens, positions, length, Depth(layer, n_layers), THETA
    )
    return attended.out_btnh, kept


def run(
    eviction: Eviction,
    tokens: Tokens,
    steps: tuple[int, ...] | None = None,
    *,
    layer: int = 0,
    n_layers: int = 1,
    capacity: int | None = None,
    impl: str = "dense",
) -> tuple[np.ndarray, EvictingCache]:
    """All tokens, fed in steps of the given sizes (default: one)."""
    batch, total, n_heads, head_dim = tokens.q.shape
    kept = eviction.init_state(Heads(n_heads, tokens.k.shape[2], head_dim), batch, capacity or total, jnp.float32)
    outs, length = [], 0
    for size in steps or (total,):
        part = Tokens(*(on_device(x[:, length : length + size]) for x in tokens))
        positions = on_device(np.arange(length, length + size)[None], np.int32)
        out, kept = _step(eviction, kept, jnp.int32(length), jnp.int32(layer), part, positions, n_layers, impl)
        outs.append(np.asarray(out))
        length += size
    return np.concatenate(outs, axis=1), kept


def held(kept: EvictingCache) -> list[list[list[int]]]:
    """Positions per row and key-value head, in the order of the slots."""
    return [[[int(p) for p in head if p >= 0] for head in row] for row in np.asarray(kept.positions)]
