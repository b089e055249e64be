"""Keys unlike the others (KeyDiff: Park et al., 2504.15364)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from attention.cost import Heads
from attention.eviction.policy import CachedKeys, Policy, Retention, State, product


class KeyDiff(Policy):
    """score = -cos(k, mean over the held keys of k/|k|), on keys with rotary positions applied."""

    name = "keydiff"

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        k_bskh = cached.keys_bskh.astype(jnp.float32)
        unit_bskh = k_bskh / jnp.maximum(jnp.linalg.norm(k_bskh, axis=-1, keepdims=True), 1e-12)
        valid_bsk = jnp.broadcast_to(cached.valid_bks, cached.pos_bks.shape).swapaxes(1, 2)
        mean_bkh = jnp.mean(unit_bskh, axis=1, where=valid_bsk[..., None])
        # The anchor's norm is one number per head and changes no order.
        return -product("bskh,bkh->bks", unit_bskh, mean_bkh)

    def score_flops(self, heads: Heads, keys: int, retention: Retention) -> int:
        return 2 * heads.n_kv_heads * keys * heads.head_dim
