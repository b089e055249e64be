"""The oracle: attention over the whole mask in float32.  Short, obviously right, and quadratic in memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from attention.pattern import SpanPattern, dense_mask


def attend_dense(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_bt: jax.Array,
    kv_pos_bks: jax.Array,
    pattern: SpanPattern,
) -> jax.Array:
    """softmax(q·k / sqrt(H), over visible keys)·v, as [B, T, N, H] in q's dtype; a query that sees nothing gets 0."""
    n_heads, head_dim = q_btnh.shape[2:]
    group_size = n_heads // k_bskh.shape[2]
    q, k, v = (x.astype(jnp.float32) for x in (q_btnh, k_bskh, v_bskh))
    k, v = (jnp.repeat(x, group_size, axis=2) for x in (k, v))
    mask_bnts = dense_mask(pattern, q_pos_bt, kv_pos_bks, n_heads)
    scores_bnts = jnp.einsum("btnh,bsnh->bnts", q, k, precision="highest") / head_dim**0.5
    weights_bnts = jax.nn.softmax(scores_bnts, axis=-1, where=mask_bnts)
    return jnp.einsum("bnts,bsnh->btnh", weights_bnts, v, precision="highest").astype(q_btnh.dtype)
