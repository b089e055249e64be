"""The oracle: attention over the whole mask in float32.  Short, obviously right, and quadratic in memory."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Float32, Int

from attention.kernels.score import Score, changed
from attention.mask import dense_mask
from attention.pattern import OnEither, SpanPattern, Spans


def attend_dense(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"],
    v_bskh: Float[Array, "b s k h"],
    q_pos_bt: Int[OnEither, "#b t"],
    kv_pos_bks: Int[OnEither, "#b #k s"],
    pattern: SpanPattern | Spans,
    score: Score | None = None,
) -> tuple[Float[Array, "b t n h"], Float32[Array, "b n t"]]:
    """softmax(q·k / sqrt(H), over visible keys)·v, and the log of the softmax's denominator.

    [B, T, N, H] in q's dtype, and [B, N, T] in float32; a query that sees nothing gets 0 and -inf.  `score` changes the
    scores: `attention.kernels.score.Score`.
    """
    n_heads = q_btnh.shape[2]
    mask_bnts = dense_mask(pattern, q_pos_bt, kv_pos_bks, n_heads)
    return attend_masked(q_btnh, k_bskh, v_bskh, mask_bnts, change_of(score, q_pos_bt, kv_pos_bks, n_heads))


def change_of(
    score: Score | None, q_pos_bt: OnEither, kv_pos_bks: OnEither, n_heads: int
) -> Callable[[jax.Array], jax.Array] | None:
    """What `score` makes of all scores [B, N, T, S] at these positions."""
    if score is None:
        return None
    kv_pos_bns = kv_pos_bks.repeat(n_heads // kv_pos_bks.shape[1], axis=1)
    at = q_pos_bt[:, None, :, None], kv_pos_bns[:, :, None], jnp.arange(n_heads, dtype=jnp.int32)[:, None, None]
    return lambda scores_bnts: changed(score, scores_bnts, *at)


def attend_masked(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"],
    v_bskh: Float[Array, "b s k h"],
    mask_bnts: Bool[OnEither, "#b n t s"],
    change: Callable[[jax.Array], jax.Array] | None = None,
) -> tuple[Float[Array, "b t n h"], Float32[Array, "b n t"]]:
    """`attend_dense` under any mask, [B or 1, N, T, S], with whatever `change` makes of the scores [B, N, T, S]."""
    b, t, n_heads, head_dim = q_btnh.shape
    n_kv_heads = k_bskh.shape[2]
    q_btkgh = q_btnh.reshape(b, t, n_kv_heads, -1, head_dim)
    mask_bkgts = mask_bnts.reshape(mask_bnts.shape[0], n_kv_heads, -1, *mask_bnts.shape[2:])
    exact = {"precision": "highest", "preferred_element_type": jnp.float32}
    scores_bkgts = jnp.einsum("btkgh,bskh->bkgts", q_btkgh, k_bskh, **exact) / head_dim**0.5
    if change is not None:
        own = jnp.where(mask_bkgts, scores_bkgts, lax.stop_gradient(scores_bkgts))  # hidden ones may have no derivative
        scores_bnts = change(own.reshape(b, n_heads, *own.shape[3:]))
        mask_bkgts &= (scores_bnts > -jnp.inf).reshape(scores_bkgts.shape)
        scores_bkgts = jnp.where(mask_bkgts, scores_bnts.reshape(scores_bkgts.shape), 0)
    weights_bkgts = jax.nn.softmax(scores_bkgts, axis=-1, where=mask_bkgts)
    out_btkgh = jnp.einsum("bkgts,bskh->btkgh", weights_bkgts, v_bskh.astype(jnp.float32), **exact)
    lse_bkgt = jax.nn.logsumexp(scores_bkgts, axis=-1, where=mask_bkgts)
    return out_btkgh.reshape(q_btnh.shape).astype(q_btnh.dtype), lse_bkgt.reshape(b, n_heads, t)
