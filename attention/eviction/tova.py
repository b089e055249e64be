"""What the last query looked at, one set for all heads (TOVA: Oren et al., 2401.06104)."""

from __future__ import annotations

import jax

from attention.eviction.policy import CachedKeys, Retention, State
from attention.eviction.recent_queries import ReadsRecentQueries, probabilities


class Tova(ReadsRecentQueries):
    """score = probability under the newest query, mean over all query heads of the layer."""

    name = "tova"

    def default_recent(self, budget: int) -> int:
        return 1

    def window(self, retention: Retention) -> int:
        return 1

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        return probabilities(state.running, cached).mean((1, 2, 3))[:, None]
