"""Attention to chosen keys, one by one: they are gathered for a few queries at a time, the same for all heads.

So that memory beside the choice is linear in the prompt, also in reverse mode.
"""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32, Int

from attention.attended import Attended
from attention.chosen import ChosenTokens
from attention.exact_count import ExactCount
from attention.kernels.block_routed import by_position
from attention.kernels.dense import attend_masked
from attention.kernels.target import current_target, is_gpu
from attention.pattern import OnEither

GATHERED_BYTES: Final = 2**21
"""Of keys and values in memory at once: what stays in a core's caches; measured on a CPU."""

GATHERED_BYTES_ON_GPU: Final = 2**26
"""Where few queries are too little to do."""


def attend_tokens_dense(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"],
    v_bskh: Float[Array, "b s k h"],
    q_pos_bt: Int[OnEither, "#b t"],
    kv_pos_bks: Int[OnEither, "#b 1 s"],
    pattern: ChosenTokens,
) -> tuple[Float[Array, "b t n h"], Float32[Array, "b n t"]]:
    """The same over the whole mask: an oracle, quadratic in memory.  Results as `attend_dense`."""
    t, n = q_btnh.shape[1:3]
    place = jnp.maximum(pattern.chosen_btj, -1) + 1  # -1 goes to a place of its own
    chosen_btp = jax.vmap(jax.vmap(lambda at: jnp.zeros(k_bskh.shape[1] + 1, bool).at[at].set(True)))(place)
    kv_pos_b1s = jnp.broadcast_to(kv_pos_bks[:, 0][:, None], (kv_pos_bks.shape[0], t, kv_pos_bks.shape[2]))
    is_chosen_bts = jnp.take_along_axis(chosen_btp, kv_pos_b1s + 1, axis=2)
    mask_bts = is_chosen_bts & (kv_pos_b1s >= 0) & (kv_pos_b1s <= q_pos_bt[..., None])
    return attend_masked(
        q_btnh, k_bskh, v_bskh, jnp.broadcast_to(mask_bts[:, None], (len(mask_bts), n, *mask_bts.shape[1:]))
    )


def attend_tokens(
    q_btnh: Float[Array, "b t n h"],
    k_bskh: Float[Array, "b s k h"],
    v_bskh: Float[Array, "b s k h"],
    q_pos_bt: Int[OnEither, "#b t"],
    kv_pos_bks: Int[OnEither, "#b 1 s"],
    pattern: ChosenTokens,
) -> Attended:
    """As `attend_tokens_dense`, computing chosen keys only."""
    (b, t, n, h), (_, s, k, _) = q_btnh.shape, k_bskh.shape
    rows = tuple(x.reshape(b, s, 1, k * h) for x in (k_bskh, v_bskh))  # a key's heads are read together
    keys_bse, values_bse = (x[:, 0] for x in by_position(rows, kv_pos_bks, 1))
    chosen_btj = jnp.broadcast_to(pattern.chosen_btj, (b, *pattern.chosen_btj.shape[1:]))
    j = chosen_btj.shape[2]

    @jax.checkpoint  # of a prompt, what was gathered is as many times larger than keys and values as keys are chosen
    def of_query(operand: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        q_bnh, chosen_bj, pos_b = operand
        at_bj1 = jnp.clip(chosen_bj, 0, s - 1)[..., None]
        k_bjkh, v_bjkh = (jnp.take_along_axis(x, at_bj1, axis=1).reshape(b, j, k, h) for x in (keys_bse, values_bse))
        is_seen_bj = (chosen_bj >= 0) & (chosen_bj < s) & (chosen_bj <= pos_b[:, None])
        return _attend_gathered(q_bnh, k_bjkh, v_bjkh, is_seen_bj)

    operands = q_btnh.swapaxes(0, 1), chosen_btj.swapaxes(0, 1), jnp.broadcast_to(q_pos_bt, (b, t)).T
    at_once = GATHERED_BYTES_ON_GPU if is_gpu(current_target()) else GATHERED_BYTES
    queries = max(1, at_once // (2 * b * j * k * h * k_bskh.dtype.itemsize))
    out_tbnh, lse_tbn = lax.map(of_query, operands, batch_size=queries)
    visited = ExactCount.constant(b * n * t * j)
    return Attended(out_tbnh.swapaxes(0, 1), jnp.moveaxis(lse_tbn, 0, 2), visited)


def _attend_gathered(
    q_bnh: jax.Array, k_bjkh: jax.Array, v_bjkh: jax.Array, is_seen_bj: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One query a row: [B, N, H] in its dtype, and [B, N]; 0 and -inf where nothing is seen."""
    (b, n, h), k = q_bnh.shape, k_bjkh.shape[2]
    exact = {"precision": "highest", "preferred_element_type": jnp.float32}
    scores_bkgj = h**-0.5 * jnp.einsum("bkgh,bjkh->bkgj", q_bnh.reshape(b, k, n // k, h), k_bjkh, **exact)
    mask_b11j = is_seen_bj[:, None, None]
    weights_bkgj = jax.nn.softmax(scores_bkgj, axis=-1, where=mask_b11j).astype(v_bjkh.dtype)
    out_bkgh = jnp.einsum("bkgj,bjkh->bkgh", weights_bkgj, v_bjkh, **exact)
    lse_bkg = jax.nn.logsumexp(scores_bkgj, axis=-1, where=mask_b11j)
    return out_bkgh.reshape(b, n, h).astype(q_bnh.dtype), lse_bkg.reshape(b, n)
