"""The oracle: attention over the whole mask in float32.  Short, obviously right, and quadratic in memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int

from attention.pattern import OnEither, SpanPattern, Spans, dense_mask


def attend_dense(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"],
    v_bskh: Float[Array, "b s k h"],
    q_pos_bt: Int[OnEither, "#b t"],
    kv_pos_bks: Int[OnEither, "#b #k s"],
    pattern: SpanPattern | Spans,
) -> tuple[Float[Array, "b t n h"], Float32[Array, "b n t"]]:
    """softmax(q·k / sqrt(H), over visible keys)·v, and the log of the softmax's denominator.

    [B, T, N, H] in q's dtype, and [B, N, T] in float32; a query that sees nothing gets 0 and -inf.
    """
    return attend_masked(q_btnh, k_bskh, v_bskh, dense_mask(pattern, q_pos_bt, kv_pos_bks, q_btnh.shape[2]))


def attend_masked(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"],
    v_bskh: Float[Array, "b s k h"],
    mask_bnts: Bool[OnEither, "#b n t s"],
) -> tuple[Float[Array, "b t n h"], Float32[Array, "b n t"]]:
    """`attend_dense` under any mask, [B or 1, N, T, S]."""
    b, t, n_heads, head_dim = q_btnh.shape
    n_kv_heads = k_bskh.shape[2]
    q_btkgh = q_btnh.reshape(b, t, n_kv_heads, -1, head_dim)
    mask_bkgts = mask_bnts.reshape(mask_bnts.shape[0], n_kv_heads, -1, *mask_bnts.shape[2:])
    exact = {"precision": "highest", "preferred_element_type": jnp.float32}
    scores_bkgts = jnp.einsum("btkgh,bskh->bkgts", q_btkgh, k_bskh, **exact) / head_dim**0.5
    weights_bkgts = jax.nn.softmax(scores_bkgts, axis=-1, where=mask_bkgts)
    out_btkgh = jnp.einsum("bkgts,bskh->btkgh", weights_bkgts, v_bskh.astype(jnp.float32), **exact)
    lse_bkgt = jax.nn.logsumexp(scores_bkgts, axis=-1, where=mask_bkgts)
    return out_btkgh.reshape(q_btnh.shape).astype(q_btnh.dtype), lse_bkgt.reshape(b, n_heads, t)
