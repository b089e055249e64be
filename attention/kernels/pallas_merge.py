"""The parts of a decode step's attention made one, in a Pallas-Triton kernel: the second of Flash-Decoding.

Each part gave a softmax over its own keys and the log-sum-exp of its scores, by which they are weighted.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.pallas_program import LOG2_E
from attention.kernels.ref import Ref

NAME: Final = "merge_decode_attention"
"""Of the kernel in compiled programs."""


class OwnToken(NamedTuple):
    """Queries [B, T, N, H], the key and value [B, 1, K, H] that each of a row sees besides, and positions [B or 1, T],
    -1 for padding, which sees nothing."""

    q_btnh: jax.Array
    k_b1kh: jax.Array
    v_b1kh: jax.Array
    q_pos_bt: jax.Array


def merge_parts(
    out_bkprh: jax.Array, lse_bkpr: jax.Array, shape: tuple[int, int, int, int], dtype: Any, own: OwnToken | None, *,
    interpret: bool,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """sum over parts p of exp(lse_p - lse) · out_p, [B, T, N, H] = `shape` in `dtype`, and lse [B, N, T] in float32.

    A row r of a key-value head is a query of its group, token by token.  `own` is one part more.
    """
    (b, t, n, _), (n_kv, parts, n_rows) = shape, lse_bkpr.shape[1:]
    return pl.pallas_call(
        partial(_merge, group=n // n_kv, parts=parts),
        grid=(n_rows, n_kv, b),
        out_shape=[jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct((b, n, t), jnp.float32)],
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=1),
        interpret=interpret,
        name=NAME,
        cost_estimate=pl.CostEstimate(flops=0, transcendentals=0, bytes_accessed=4 * out_bkprh.size),
    )(out_bkprh, lse_bkpr, *(own or ()))


def _merge(out_ref: Ref, lse_ref: Ref, *refs: Ref, group: int, parts: int) -> None:
    """The parts of one row, weighted by what each saw; and its own token, where that is in none of them."""
    *own_refs, merged_ref, merged_lse_ref = refs
    row, kv_head, b = (pl.program_id(axis) for axis in range(3))
    head_dim = out_ref.shape[-1]
    size = 1 << (parts - 1).bit_length()
    part = jnp.arange(size)
    exists = part < parts

    def at(*index: jax.Array, shape: tuple[int, ...]) -> tuple[jax.Array, ...]:
        return tuple(jnp.broadcast_to(x, shape) for x in index)

    lse = plgpu.load(lse_ref.at[at(b, kv_head, part, row, shape=(size,))], mask=exists, other=-jnp.inf)
    token, head = row // group, kv_head * group + row % group
    top = lse.max(0)
    if own_refs:
        score, own_value = _own_token(own_refs, b, token, head, kv_head)
        top = jnp.maximum(top, score)
    pivot = jnp.where(top == -jnp.inf, 0.0, top)
    weights = jnp.exp2((lse - pivot) * LOG2_E)
    own_weight = jnp.exp2((score - pivot) * LOG2_E) if own_refs else 0.0
    total = weights.sum(0) + own_weight
    shape = size, head_dim
    index = at(b, kv_head, part[:, None], row, jnp.arange(head_dim)[None], shape=shape)
    out = plgpu.load(out_ref.at[index], mask=jnp.broadcast_to(exists[:, None], shape), other=0.0)
    summed = (out * weights[:, None]).sum(0)
    if own_refs:
        summed += own_weight * own_value
    merged = summed * jnp.where(total > 0, 1 / jnp.where(total > 0, total, 1), 0)
    merged_ref[b, token, head, :] = merged.astype(merged_ref.dtype)
    merged_lse_ref[b, head, token] = jnp.where(total > 0, pivot + jnp.log(jnp.where(total > 0, total, 1)), -jnp.inf)


def _own_token(
    refs: Ref, b: jax.Array, token: jax.Array, head: jax.Array, kv_head: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The scaled score of a query for its own key, which it sees unless it is padding, and the value."""
    q_ref, k_ref, v_ref, q_pos_ref = refs
    q, k, v = (
        x.astype(jnp.float32) for x in (q_ref[b, token, head, :], k_ref[b, 0, kv_head, :], v_ref[b, 0, kv_head, :])
    )
    pos = q_pos_ref[jnp.minimum(b, q_pos_ref.shape[0] - 1), token]
    return jnp.where(pos >= 0, (q * k).sum(0) / q_ref.shape[-1] ** 0.5, -jnp.inf), v
