"""Policies that read what the newest queries looked at: they remember the last few queries, no probabilities."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from attention.cost import Heads
from attention.eviction.policy import CachedKeys, CacheShape, Policy, Queries, Retention, State, grouped, product


class ReadsRecentQueries(Policy):
    """Base: `state.running` is the last `window` queries, [B, W, N, H]."""

    def init_state(self, shape: CacheShape, dtype: jax.typing.DTypeLike) -> State:
        return State(
            running=jnp.zeros((shape.batch, self.window(shape.retention), shape.n_heads, shape.head_dim), dtype)
        )

    def observe(self, state: State, queries: Queries, cached: CachedKeys) -> State:
        q_btnh = queries.q_btnh.astype(state.running.dtype)
        window = self.window(cached.retention)
        if q_btnh.shape[1] < window:
            q_btnh = jnp.concatenate([state.running, q_btnh], axis=1)
        return State(running=q_btnh[:, -window:])

    def score_flops(self, heads: Heads, keys: int, retention: Retention) -> int:
        return 2 * heads.n_heads * self.window(retention) * keys * heads.head_dim

    def useful_score_flops(self, heads: Heads, keys: int, retention: Retention) -> int:
        """One product of a query and a key for every pair that sees each other: no query sees those after it."""
        w = min(self.window(retention), keys)
        return 2 * heads.n_heads * heads.head_dim * (w * keys - w * (w - 1) // 2)


def probabilities(q_bwnh: jax.Array, cached: CachedKeys) -> jax.Array:
    """Attention of the newest w queries to all that is held, [B, K, G, w, S] in float32."""
    w, head_dim = q_bwnh.shape[1], q_bwnh.shape[-1]
    q_bwkgh = grouped(q_bwnh, cached.keys_bskh.shape[2])
    scores_bkgws = product("bwkgh,bskh->bkgws", q_bwkgh, cached.keys_bskh) / head_dim**0.5
    q_slot_w = cached.end - w + jnp.arange(w)
    visible = cached.valid_bks[:, :, None, None] & (cached.slot_s <= q_slot_w[:, None])
    return jax.nn.softmax(jnp.where(visible, scores_bkgws, -jnp.inf), axis=-1)
