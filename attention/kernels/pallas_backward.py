"""Gradients of attention by recomputing the weights, in plain XLA and memory linear in the prompt.

With P = exp(scale·QKᵀ - lse) on visible pairs, O = PV, and delta = rowsum(dO * O) - dlse (Dao, 2307.08691):

    dV = Pᵀ dO      dS = P * (dO Vᵀ - delta)      dQ = scale·dS K      dK = scale·dSᵀ Q

A block of queries meets a block of keys at a time; blocks of pairs that nobody sees are skipped.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from attention.pattern import UNBOUNDED, pad_positions, visible

BLOCK = 512
"""Queries and keys in a block."""

Pair = tuple[jax.Array, jax.Array]
"""Of keys and of values."""


def attention_gradients(
    q_btnh: jax.Array, k_bskh: jax.Array, v_bskh: jax.Array, q_pos_bnt: jax.Array, kv_pos_bks: jax.Array,
    span_bnt: jax.Array, sink_n: jax.Array, out_btnh: jax.Array, lse_bnt: jax.Array, d_out_btnh: jax.Array,
    d_lse_bnt: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:  # fmt: skip
    """(dq, dk, dv) in the dtypes of q, k, v; `d_lse_bnt` may be None.  See `attend_pallas` for the operands."""
    (b, t, n, h), (s, k) = q_btnh.shape, k_bskh.shape[1:3]
    g, scale = n // k, h**-0.5
    delta_bnt = jnp.einsum("btnh,btnh->bnt", d_out_btnh, out_btnh, preferred_element_type=jnp.float32)
    if d_lse_bnt is not None:
        delta_bnt = delta_bnt - d_lse_bnt

    def grouped(x_bnt: jax.Array) -> jax.Array:  # [B, K or 1, G or 1, T]
        heads = x_bnt.shape[1]
        sides = (k, g) if heads == n else (heads, 1)
        return x_bnt.reshape(x_bnt.shape[0], *sides, x_bnt.shape[2])

    q_side = (
        _blocks(q_btnh.reshape(b, t, k, g, h), 1),
        _blocks(d_out_btnh.reshape(b, t, k, g, h), 1),
        _blocks(grouped(lse_bnt), 3),
        _blocks(grouped(delta_bnt), 3),
        _blocks(pad_positions(grouped(q_pos_bnt), BLOCK, jnp), 3),
        _blocks(grouped(jnp.broadcast_to(span_bnt, (*span_bnt.shape[:2], t))), 3),
    )
    kv_side = _blocks(k_bskh, 1), _blocks(v_bskh, 1), _blocks(pad_positions(kv_pos_bks, BLOCK, jnp)[:, :, None], 3)
    sink = grouped(sink_n[None, :, None])

    def product(equation: str, x: jax.Array, y: jax.Array) -> jax.Array:
        exact = lax.Precision.HIGHEST if q_btnh.dtype == jnp.float32 else None
        return jnp.einsum(equation, x, y, precision=exact, preferred_element_type=jnp.float32)

    def one_q_block(d_kv: Pair, q_block: tuple[jax.Array, ...]) -> tuple[Pair, jax.Array]:
        q, d_out, lse, delta, q_pos, span = q_block

        def one_kv_block(dq: jax.Array, operand: tuple[tuple[jax.Array, ...], Pair]) -> tuple[jax.Array, Pair]:
            (keys, values, kv_pos), (dk, dv) = operand

            def meet() -> tuple[jax.Array, Pair]:
                mask = visible(q_pos[..., :, None], kv_pos[..., None, :], span[..., None], sink[..., None])
                scores = scale * product("btkgh,bskh->bkgts", q, keys)
                # A query that sees nothing has lse = -inf, and no visible pair.
                weights = jnp.exp(jnp.where(mask, scores - lse[..., None], -jnp.inf))
                d_weights = product("btkgh,bskh->bkgts", d_out, values)
                d_scores = (scale * weights * (d_weights - delta[..., None])).astype(q.dtype)
                d_values = product("bkgts,btkgh->bskh", weights.astype(q.dtype), d_out)
                d_keys = product("bkgts,btkgh->bskh", d_scores, q)
                return dq + product("bkgts,bskh->btkgh", d_scores, keys), (dk + d_keys, dv + d_values)

            first_key = jnp.where(kv_pos >= 0, kv_pos, UNBOUNDED).min()
            left = jnp.where(q_pos >= 0, q_pos - span, UNBOUNDED).min()
            some = (first_key <= q_pos.max()) & ((kv_pos.max() > left) | (first_key < sink.max()))
            return lax.cond(some, meet, lambda: (dq, (dk, dv)))

        dq, d_kv = lax.scan(one_kv_block, jnp.zeros(q.shape, jnp.float32), (kv_side, d_kv))
        return d_kv, dq

    nothing = jnp.zeros(kv_side[0].shape, jnp.float32), jnp.zeros(kv_side[1].shape, jnp.float32)
    (dk, dv), dq = lax.scan(one_q_block, nothing, q_side)
    dq, dk, dv = (jnp.moveaxis(x, 0, 1) for x in (dq, dk, dv))
    return (
        dq.reshape(b, -1, n, h)[:, :t].astype(q_btnh.dtype),
        dk.reshape(b, -1, k, h)[:, :s].astype(k_bskh.dtype),
        dv.reshape(b, -1, k, h)[:, :s].astype(v_bskh.dtype),
    )


def _blocks(x: jax.Array, axis: int) -> jax.Array:
    """`x` cut along `axis`, blocks first, filled up with zeros."""
    missing = -x.shape[axis] % BLOCK
    x = jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)])
    return jnp.moveaxis(x.reshape(*x.shape[:axis], -1, BLOCK, *x.shape[axis + 1 :]), axis, 0)
