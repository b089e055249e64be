"""Keys at random: the control that a policy must beat."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from attention.eviction.policy import CachedKeys, Policy, State


@dataclass(frozen=True)
class Random(Policy):
    """score = a uniform number that (seed, layer, key-value head, position) alone decide.

    It does not change from event to event, so every token of the past is held with the same probability; drawn
    anew at each event, old tokens would fade away.
    """

    name = "random"

    seed: int = 0

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        layer = jax.random.fold_in(jax.random.key(self.seed), cached.layer)

        def draw(head: jax.Array, position: jax.Array) -> jax.Array:
            return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(layer, head), position))

        over_slots = jax.vmap(draw, in_axes=(None, 0))
        over_heads = jax.vmap(over_slots)
        heads = jnp.arange(cached.pos_bks.shape[1])
        return jax.vmap(over_heads, in_axes=(None, 0))(heads, cached.pos_bks)
