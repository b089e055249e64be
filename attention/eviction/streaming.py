"""Attention sinks and the newest keys (StreamingLLM: Xiao et al., 2309.17453)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from attention.eviction.policy import CachedKeys, Policy, State


class Streaming(Policy):
    """Newer is better: what stays are the sinks and the newest budget - sinks keys, at their original positions."""

    name = "streaming"

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        return cached.slot_s.astype(jnp.float32)  # exact below 2^24 slots
