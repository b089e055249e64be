"""SnapKV with one budget for all heads of a layer (Ada-KV: Feng et al., 2407.11550)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from attention.eviction.policy import Retention
from attention.eviction.snapkv import SnapKV
from attention.kernels.first_best import first_best

FLOOR = 0.2
"""Part of the mean budget that every head keeps."""
CAP = 2
"""Mean budgets that a head may keep: shapes are static, so there must be a bound.  The paper has none."""


class AdaKV(SnapKV):
    """SnapKV's scores; the layer keeps its best K · budget keys wherever they are.

    Every head keeps its best `FLOOR` · budget keys (the paper's safeguard) and at most `CAP` · budget.  Between equal
    scores of two heads, the lower head's stays.
    """

    name = "adakv"
    per_head = True

    def most_kept(self, retention: Retention) -> int:
        return CAP * retention.budget

    def retained(self, score_bks: jax.Array, retention: Retention, layer_budget: Any, most: int) -> jax.Array:
        least = max(1, int(FLOOR * retention.budget))
        score_bkp, slots_bkp = first_best(score_bks, most)
        score_bkp = jnp.where(jnp.arange(most) < least, jnp.inf, score_bkp)
        batch, n_kv_heads = score_bks.shape[:2]
        _, best = first_best(score_bkp.reshape(batch, -1), n_kv_heads * layer_budget)
        stays = jnp.zeros((batch, n_kv_heads * most), bool).at[jnp.arange(batch)[:, None], best].set(True)
        return jnp.where(stays.reshape(score_bkp.shape), slots_bkp, -1)
