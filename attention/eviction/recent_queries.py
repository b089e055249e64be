"""Policies that read what the newest queries looked at: they remember the last few queries, no probabilities."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from attention.cost import Heads
from attention.eviction.policy import Held, Policy, Queries, Shape, State, grouped, product


class ReadsRecentQueries(Policy):
    """Base: `state.running` is the last `window` queries, [B, window, N, H]."""

    def init_state(self, shape: Shape, dtype: jax.typing.DTypeLike) -> State:
        return State(running=jnp.zeros((shape.batch, self.window, shape.n_heads, shape.head_dim), dtype))

    def observe(self, state: State, queries: Queries, held: Held) -> State:
        q_btnh = queries.q_btnh.astype(state.running.dtype)
        if q_btnh.shape[1] < self.window:
            q_btnh = jnp.concatenate([state.running, q_btnh], axis=1)
        return State(running=q_btnh[:, -self.window :])

    def score_flops(self, heads: Heads, keys: int) -> int:
        return 2 * heads.n_heads * self.window * keys * heads.head_dim


def probabilities(q_bwnh: jax.Array, held: Held) -> jax.Array:
    """Attention of the newest w queries to all that is held, [B, K, G, w, S] in float32."""
    w, head_dim = q_bwnh.shape[1], q_bwnh.shape[-1]
    q_bwkgh = grouped(q_bwnh, held.keys_bskh.shape[2])
    scores_bkgws = product("bwkgh,bskh->bkgws", q_bwkgh, held.keys_bskh) / head_dim**0.5
    q_slot_w = held.end - w + jnp.arange(w)
    visible = held.valid_bks[:, :, None, None] & (held.slot_s <= q_slot_w[:, None])
    return jax.nn.softmax(jnp.where(visible, scores_bkgws, -jnp.inf), axis=-1)
