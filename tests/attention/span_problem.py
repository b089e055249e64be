"""Random operands for the attention kernels, and what they should give."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from attention.pattern import UNBOUNDED, visible
from tests.attention.dense_oracle import attend_masked
from tests.operands import on_device

ORDERS = "in a row", "gaps", "pieces", "any"


def draw_operands(shape, span_heads: int, seed: int, order: str, dtype=jnp.float32):
    """q, k, v, positions, spans and sinks; `order` of the keys: in a row, with gaps, in shuffled pieces, any."""
    b, t, s, k, g, h = shape
    rng = np.random.default_rng(seed)
    floats = (on_device(rng.normal(size=size), dtype) for size in ((b, t, k * g, h), (b, s, k, h), (b, s, k, h)))
    if order == "in a row":
        q_pos, kv_pos = np.arange(max(s - t, 0), max(s - t, 0) + t), np.broadcast_to(np.arange(s), (b, k, s))
    else:
        kv_pos = np.stack([[np.sort(rng.permutation(3 * s)[:s]) for _ in range(k)] for _ in range(b)])
        if order == "pieces":
            pieces = np.array_split(np.arange(s), -(-s // 16))
            kv_pos = kv_pos[..., np.concatenate([pieces[i] for i in rng.permutation(len(pieces))])]
        if order == "any":
            kv_pos = rng.permuted(np.where(rng.random(kv_pos.shape) < 0.3, -1, kv_pos), axis=-1)
        q_pos = rng.permutation(3 * s)[:t]
        q_pos = np.where(rng.random(t) < 0.1, -1, np.sort(q_pos) if order == "gaps" else q_pos)
    far = rng.choice([0, 0.3])
    span = np.where(rng.random((b, span_heads, t)) < far, UNBOUNDED, rng.integers(1, s, (b, span_heads, t)))
    sink = rng.integers(0, rng.choice([1, 9, s]), span_heads)
    integers = (q_pos[None, None].repeat(b, 0), kv_pos, span, sink)
    return *floats, *(on_device(x, np.int32) for x in integers)  # cast on the host: nothing is compiled


@jax.jit
def oracle(q, k, v, q_pos, kv_pos, span, sink):
    n = q.shape[2]
    q_pos, span = (x.repeat(n // x.shape[1], axis=1)[..., :, None] for x in (q_pos, span))
    kv_pos, sink = kv_pos.repeat(n // kv_pos.shape[1], axis=1)[..., None, :], sink.repeat(n // sink.size)
    return attend_masked(q, k, v, visible(q_pos, kv_pos, span, sink[None, :, None, None]))


@jax.jit
def safe_oracle(q, k, v, q_pos, kv_pos, span, sink):
    """`oracle` with a finite derivative where a query sees nothing."""
    n = q.shape[2]
    q_pos, span = (x.repeat(n // x.shape[1], axis=1)[..., :, None] for x in (q_pos, span))
    kv_pos, sink = kv_pos.repeat(n // kv_pos.shape[1], axis=1)[..., None, :], sink.repeat(n // sink.size)
    mask = visible(q_pos, kv_pos, span, sink[None, :, None, None])
    k, v = (x.repeat(n // x.shape[2], axis=2) for x in (k, v))
    scores = jnp.einsum("btnh,bsnh->bnts", q, k, precision="highest") / q.shape[-1] ** 0.5
    weights = jnp.where(mask, jnp.exp(scores), 0)
    total = weights.sum(-1)
    sees = total > 0
    out = jnp.einsum("bnts,bsnh->btnh", weights / jnp.where(sees, total, 1)[..., None], v, precision="highest")
    return out, jnp.where(sees, jnp.log(jnp.where(sees, total, 1)), 0)
