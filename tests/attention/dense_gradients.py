"""Gradients of attention through the whole mask, in float64 and by the softmax's own derivative."""

from __future__ import annotations

import numpy as np


def dense_gradients(q, k, v, mask, d_out, d_lse):
    """(dq, dk, dv) for queries [B, T, N, H], a mask [B, N, T, S], and cotangents [B, T, N, H] and [B, N, T]."""
    q, k, v, d_out, d_lse = (np.asarray(x, np.float64) for x in (q, k, v, d_out, d_lse))
    (b, s, heads, h), n = k.shape, q.shape[2]
    keys, values = (x.repeat(n // heads, axis=2) for x in (k, v))
    scores = np.where(mask, np.einsum("btnh,bsnh->bnts", q, keys) / h**0.5, -np.inf)
    weights = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e9))
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    d_weights = np.einsum("btnh,bsnh->bnts", d_out, values)
    mean = (weights * d_weights).sum(-1, keepdims=True)
    d_scores = weights * (d_weights - mean + d_lse[..., None]) / h**0.5

    def of_group(x_bsnh):
        return x_bsnh.reshape(b, s, heads, -1, h).sum(3)

    dk = np.einsum("bnts,btnh->bsnh", d_scores, q)
    dv = np.einsum("bnts,btnh->bsnh", weights, d_out)
    return np.einsum("bnts,bsnh->btnh", d_scores, keys), of_group(dk), of_group(dv)
