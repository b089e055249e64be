"""SnapKV with more keys in lower layers and fewer in higher ones (PyramidKV: Cai et al., 2406.02069)."""

from __future__ import annotations

from attention.eviction.policy import Retention
from attention.eviction.snapkv import SnapKV

BETA = 20
"""How steep: the last layer gets 1/BETA of the mean budget."""


class PyramidKV(SnapKV):
    """Budgets fall linearly over the layers; their mean is `budget` but for rounding.

        budget_l = reserved + free · (2 - 1/BETA - (2 - 2/BETA) · l/(L - 1)),   free = budget - reserved

    rounded up, with reserved = sinks + recent, the keys that stay in every layer.  Slots are sized for layer 0, so the
    cache is almost twice as large as the budget says; the FLOPs are not.
    """

    name = "pyramidkv"

    def layer_budgets(self, retention: Retention, n_layers: int) -> tuple[int, ...]:
        if n_layers == 1:
            return (retention.budget,)
        least, most = self.least_budget(retention), self.most_kept(retention)
        return tuple(most - (most - least) * layer // (n_layers - 1) for layer in range(n_layers))

    def least_budget(self, retention: Retention) -> int:
        reserved = self.reserved(retention)
        return max(1, reserved + (retention.budget - reserved) // BETA)

    def most_kept(self, retention: Retention) -> int:
        return 2 * retention.budget - self.least_budget(retention)
