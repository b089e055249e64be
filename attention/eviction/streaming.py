"""Attention sinks and the newest keys (StreamingLLM: Xiao et al., 2309.17453)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from attention.eviction.policy import Held, Policy, State


class Streaming(Policy):
    """Newer is better: what stays are the sinks and the newest budget - sinks keys, at their original positions."""

    name = "streaming"

    def score(self, state: State, held: Held) -> jax.Array:
        return held.slot_s.astype(jnp.float32)  # exact below 2^24 slots
