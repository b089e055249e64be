"""Blocks of keys that a query leaves out, as their means: the mean correction of FlashPrefill v2 (2608.19758).

    out = (sum_s e^(q·k_s / sqrt(H)) · v_s + sum_c B · e^(q·kbar_c / sqrt(H)) · vbar_c) / (the same without v_s, vbar_c)

over the keys s that it reads and the blocks c of B keys, whole and before its own, that it did not choose; kbar, vbar
are the means of a block's keys and values.  Memory is linear in the prompt.
"""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Final

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attention.attended import Attended
from attention.chosen import ChosenBlocks
from attention.pattern import OnEither

LOGITS_BYTES: Final = 2**25
"""Of logits of blocks in memory at once."""


def with_means(
    attended: Attended,
    q_btnh: Float[Array, "b t n h"],
    k_bksh: Float[Array, "b k slots h"],
    v_bksh: Float[Array, "b k slots h"],
    q_pos_bt: Int[OnEither, "#b t"],
    chosen: ChosenBlocks,
) -> Attended:
    """`attended`, of the chosen blocks, with the means of the others in each softmax, and in its log-sum-exp.

    Args:
        attended: with its log-sum-exp.
        k_bksh, v_bksh: at slot = position, a whole number of blocks.
        chosen: a choice for each of the K key-value heads.
    """
    (b, t, n, h), (_, k, slots, _), block = q_btnh.shape, k_bksh.shape, chosen.block
    assert attended.lse_bnt is not None
    place_c = jnp.arange(slots // block)
    own_bt = jnp.broadcast_to(q_pos_bt, (b, t)) // block
    key_bkch, value_bkch = (x.astype(jnp.float32).reshape(b, k, -1, block, h).mean(3) for x in (k_bksh, v_bksh))

    @jax.checkpoint  # a gradient does not keep the weights of all queries
    def of_query(operand: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        q_bkgh, own_b, chosen_jbk, out_bkgh, lse_bkg = operand
        is_left_bkc = (place_c < own_b[:, None])[:, None] & (chosen_jbk[..., None] != place_c).all(0)
        product = jnp.einsum("bkgh,bkch->bkgc", q_bkgh.astype(jnp.float32), key_bkch, precision="highest")
        logit_bkgc = jnp.where(is_left_bkc[:, :, None], h**-0.5 * product + log(block), -jnp.inf)
        top_bkg = lax.stop_gradient(jnp.maximum(lse_bkg, logit_bkgc.max(-1)))
        top_bkg = jnp.where(top_bkg == -jnp.inf, 0, top_bkg)
        read_bkg, weight_bkgc = jnp.exp(lse_bkg - top_bkg), jnp.exp(logit_bkgc - top_bkg[..., None])
        total_bkg = read_bkg + weight_bkgc.sum(-1)
        left_bkgh = jnp.einsum("bkgc,bkch->bkgh", weight_bkgc, value_bkch, precision="highest")
        both_bkgh = read_bkg[..., None] * out_bkgh.astype(jnp.float32) + left_bkgh
        # Padding sees nothing at all: no weight, and a log-sum-exp of -inf.
        out_bkgh = (both_bkgh / jnp.where(total_bkg == 0, 1, total_bkg)[..., None]).astype(out_bkgh.dtype)
        return out_bkgh, top_bkg + jnp.log(total_bkg)

    q_tbkgh, out_tbkgh = (x.reshape(b, t, k, n // k, h).swapaxes(0, 1) for x in (q_btnh, attended.out_btnh))
    lse_tbkg = jnp.moveaxis(attended.lse_bnt, 2, 0).reshape(t, b, k, n // k)
    chosen_tjbk = jnp.moveaxis(jnp.broadcast_to(chosen.chosen_jbtm, (chosen.chosen_jbtm.shape[0], b, t, k)), 2, 0)
    queries = max(1, LOGITS_BYTES // (4 * b * n * place_c.size))
    out_tbkgh, lse_tbkg = lax.map(
        of_query, (q_tbkgh, own_bt.T, chosen_tjbk, out_tbkgh, lse_tbkg), batch_size=queries
    )  # fmt: skip
    out_btnh = out_tbkgh.swapaxes(0, 1).reshape(b, t, n, h)
    return replace(attended, out_btnh=out_btnh, lse_bnt=jnp.moveaxis(lse_tbkg.reshape(t, b, n), 0, 2))
