"""What the newest queries looked at, smoothed over neighbours (SnapKV: Li et al., 2404.14469)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from attention.eviction.policy import CachedKeys, Retention, State
from attention.eviction.recent_queries import ReadsRecentQueries, probabilities

POOL = 5
"""Keys in the average of `SnapKV`, the key itself in the middle."""


class SnapKV(ReadsRecentQueries):
    """score = probability, mean over the newest `recent` queries, average over 5 keys, mean over the group.

    The average is over neighbouring held keys before the window, with zeros beyond the ends.  The queries' own keys
    stay.
    """

    name = "snapkv"
    least_recent = 1

    def default_recent(self, budget: int) -> int:
        return 32

    def window(self, retention: Retention) -> int:
        return retention.recent

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        mean_bks = probabilities(state.running, cached).mean((2, 3))
        earlier_bks = jnp.where(cached.slot_s < cached.end - self.window(cached.retention), mean_bks, 0)
        ends = (0, 0), (0, 0), (POOL // 2, POOL // 2)
        return lax.reduce_window(earlier_bks, 0.0, lax.add, (1, 1, POOL), (1, 1, 1), ends) / POOL
