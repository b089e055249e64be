"""SnapKV with more keys in lower layers and fewer in higher ones (PyramidKV: Cai et al., 2406.02069)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from attention.cost import Depth
from attention.eviction.policy import Retention
from attention.eviction.snapkv import SnapKV

BETA = 20
"""How steep: the last layer gets 1/BETA of the mean budget."""


class PyramidKV(SnapKV):
    """Budgets fall linearly over the layers; their mean is `budget` but for rounding.

        budget_l = reserved + free · (2 - 1/BETA - (2 - 2/BETA) · l/(L - 1)),   free = budget - reserved

    rounded up, with reserved = sinks + recent, the keys that stay in every layer.  Slots are sized for layer 0, so the
    cache is almost twice as large as the budget says; the FLOPs are not.

    After a prompt of N tokens, N < budget_0 (`evict_after`), layer 0 keeps all N, the last one 2 · budget - N, and the
    others lie between, so that their mean is `budget` still; as published.  Between chunks (`evict`, which nobody has
    published) budgets are the same at every event, and the mean is less until layer 0 holds so many.
    """

    name = "pyramidkv"

    def layer_budget(self, retention: Retention, depth: Depth, prompt: Any = None) -> Any:
        if depth.n_layers == 1:
            return retention.budget
        most: Any = self.most_kept(retention)
        if prompt is not None:
            most = min(most, prompt) if isinstance(prompt, int) else jnp.minimum(most, prompt)
        least = 2 * retention.budget - most
        return most - (most - least) * depth.layer // (depth.n_layers - 1)

    def budget_steps(self, n_layers: int) -> int:
        return BETA * max(n_layers - 1, 1)

    def least_budget(self, retention: Retention) -> int:
        reserved = self.reserved(retention)
        return max(1, reserved + (retention.budget - reserved) // BETA)

    def most_kept(self, retention: Retention) -> int:
        return 2 * retention.budget - self.least_budget(retention)
