"""Keys of small norm (Devoto et al., 2406.11430)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from attention.eviction.policy import CachedKeys, Policy, State


class Knorm(Policy):
    """score = -|k|: keys of small norm draw much attention."""

    name = "knorm"

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        return -jnp.linalg.norm(cached.keys_bskh.astype(jnp.float32), axis=-1).swapaxes(1, 2)
