"""Which keys an index chooses: scores of every key before, of a few queries at a time.

So that choosing is quadratic in time and linear in memory.  A choice has no derivative.
"""

from __future__ import annotations

import functools
import operator
from typing import Final

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attention.chosen import BlockChoice, ChosenBlocks, ChosenTokens, TokenChoice
from attention.kernels.block_routed import best_by_maximum, best_by_sorting
from attention.kernels.target import current_target, is_gpu
from attention.pattern import OnEither

SCORES_BYTES: Final = 2**25
"""Of scores in memory at once."""


def choose_blocks_by_index(
    q_btgd: Float[Array, "b t g d"],
    k_bsd: Float[Array, "b s d"],
    q_pos_bt: Int[OnEither, "#b t"],
    choice: BlockChoice,
) -> ChosenBlocks:
    """The `choice` by the greatest product with a key of a block: one for each of the G index heads.

        score[g, c] = max over the keys s of block c of q[g]·k[s]        float32, of the blocks before a query's own

    The earlier of equals comes first.

    Args:
        q_btgd: queries of the index.
        k_bsd: its keys at slot = position, a whole number of blocks.
    """
    (b, t, g, _), slots, block = q_btgd.shape, k_bsd.shape[1], choice.block
    own_bt = jnp.broadcast_to(jnp.where(q_pos_bt < 0, -1, q_pos_bt // block), (b, t)).astype(jnp.int32)
    own_1btg = jnp.broadcast_to(own_bt[None, ..., None], (1, b, t, g))
    earlier = choice.choices(slots) - 1
    q_btgd, k_bsd = lax.stop_gradient((q_btgd, k_bsd))
    best_blocks = best_by_maximum if is_gpu(current_target()) else best_by_sorting

    def of_query(operand: tuple[jax.Array, jax.Array]) -> jax.Array:
        q_bgd, own_b = operand
        score_bgs = _products(q_bgd, k_bsd)
        score_bgc = score_bgs.reshape(b, g, -1, block).max(-1)
        is_earlier = jnp.arange(slots // block) < own_b[:, None, None]
        return best_blocks(jnp.where(is_earlier, score_bgc, -jnp.inf), earlier)

    queries = max(1, SCORES_BYTES // (4 * b * g * slots))
    best_tbge = lax.map(of_query, (q_btgd.swapaxes(0, 1), own_bt.T), batch_size=queries)
    return ChosenBlocks(block, choice.topk, jnp.concatenate([own_1btg, jnp.moveaxis(best_tbge, (3, 1), (0, 1))]))


def choose_tokens_by_index(
    q_bthd: Float[Array, "b t h d"],
    weight_bth: Float[Array, "b t h"],
    k_bsd: Float[Array, "b s d"],
    q_pos_bt: Int[OnEither, "#b t"],
    choice: TokenChoice,
) -> ChosenTokens:
    """The `choice` by the greatest weighted sum over the index heads, of the keys up to a query's own.

        score[s] = sum_h weight[h] · relu(q[h]·k[s] / sqrt(D))        float32

    The earlier of equals comes first.

    Args:
        k_bsd: keys of the index at slot = position.
    """
    (b, t, h, d), slots = q_bthd.shape, k_bsd.shape[1]
    q_bthd, weight_bth, k_bsd = lax.stop_gradient((q_bthd, weight_bth, k_bsd))

    def of_query(operand: tuple[jax.Array, ...]) -> jax.Array:
        q_bhd, weight_bh, pos_b = operand
        product_bhs = jax.nn.relu(d**-0.5 * _products(q_bhd, k_bsd))
        score_bs = _over_heads(weight_bh.astype(jnp.float32)[..., None] * product_bhs)
        is_seen_bs = jnp.arange(slots) <= pos_b[:, None]
        return best_by_sorting(jnp.where(is_seen_bs, score_bs, -jnp.inf), choice.choices(slots))

    queries = max(1, SCORES_BYTES // (4 * b * h * slots))
    operands = q_bthd.swapaxes(0, 1), weight_bth.swapaxes(0, 1), jnp.broadcast_to(q_pos_bt, (b, t)).T
    chosen_tbj = lax.map(of_query, operands, batch_size=queries)
    return ChosenTokens(choice.topk, chosen_tbj.swapaxes(0, 1))


def choose_groups_by_index(
    q_bthd: Float[Array, "b t h d"],
    k_bcd: Float[Array, "b c d"],
    q_pos_bt: Int[OnEither, "#b t"],
    size: int,
    groups: int,
) -> ChosenTokens:
    """The `groups` of `size` tokens with the greatest sum over the index heads, of those that end with a query at last,
    and the tokens behind the last of these.

        score[c] = sum_h relu(q[h]·k[c] / sqrt(D))        float32

    The earlier of equals comes first.

    Args:
        k_bcd: a key of the index for each group, in order; at least so many as are chosen.
    """
    (b, t, h, d), n_groups = q_bthd.shape, k_bcd.shape[1]
    q_bthd, k_bcd = lax.stop_gradient((q_bthd, k_bcd))
    end_bt = jnp.broadcast_to(q_pos_bt + 1, (b, t)).astype(jnp.int32)  # 0 of padding

    def of_query(operand: tuple[jax.Array, jax.Array]) -> jax.Array:
        q_bhd, end_b = operand
        score_bc = _over_heads(jax.nn.relu(d**-0.5 * _products(q_bhd, k_bcd)))
        is_whole_bc = jnp.arange(n_groups) < end_b[:, None] // size
        return best_by_sorting(jnp.where(is_whole_bc, score_bc, -jnp.inf), groups)

    queries = max(1, SCORES_BYTES // (4 * b * h * n_groups))
    best_btg1 = lax.map(of_query, (q_bthd.swapaxes(0, 1), end_bt.T), batch_size=queries).swapaxes(0, 1)[..., None]
    inside_btgr = jnp.where(best_btg1 < 0, -1, best_btg1 * size + jnp.arange(size))
    behind_btr = end_bt[..., None] // size * size + jnp.arange(size - 1)
    behind_btr = jnp.where(behind_btr < end_bt[..., None], behind_btr, -1)
    chosen_btj = jnp.concatenate([inside_btgr.reshape(b, t, -1), behind_btr], axis=2)
    return ChosenTokens(chosen_btj.shape[2], chosen_btj)


def _products(q_bgd: jax.Array, k_bsd: jax.Array) -> jax.Array:
    """[B, G, S] in float32."""
    return jnp.einsum("bgd,bsd->bgs", q_bgd, k_bsd, precision="highest", preferred_element_type=jnp.float32)


def _over_heads(x_bhs: jax.Array) -> jax.Array:
    """The sum over the second axis, term by term: six times as fast on a CPU as what XLA makes of a reduction."""
    return functools.reduce(operator.add, (x_bhs[:, head] for head in range(x_bhs.shape[1])))
