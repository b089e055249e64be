"""Which blocks a rule chooses: scores of every block before, of a few queries at a time.

So that choosing takes memory linear in the prompt.  A choice has no derivative.
"""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attention.block_rules import BlockRule
from attention.chosen import BlockChoice, ChosenBlocks
from attention.kernels.block_routed import best_by_maximum, best_by_sorting
from attention.kernels.target import current_target, is_gpu
from attention.pattern import OnEither

SCORES_BYTES: Final = 2**25
"""Of logits, or of the keys that they are of, in memory at once."""


def choose_blocks_by_rule(
    q_btnh: Float[Array, "b t n h"],
    k_bksh: Float[Array, "b k slots h"],
    q_pos_bt: Int[OnEither, "#b t"],
    choice: BlockChoice,
    rule: BlockRule,
) -> ChosenBlocks:
    """The `choice` by the greatest scores of the rule: one for each of the K key-value heads.

    A query's own block, then the first `rule.sinks` and those of the last `rule.window`, then the best of the others;
    the earlier of equals first.

    Args:
        k_bksh: keys at slot = position, a whole number of blocks, more than may be chosen.
    """
    (b, t, n, h), (_, k, slots, _), block = q_btnh.shape, k_bksh.shape, choice.block
    q_pos_bt, place_c = jnp.broadcast_to(q_pos_bt, (b, t)), jnp.arange(slots // block)
    own_bt = jnp.where(q_pos_bt < 0, -1, q_pos_bt // block).astype(jnp.int32)
    q_btnh, k_bksh = lax.stop_gradient((q_btnh, k_bksh))
    key_rbkcph = rule.compared(k_bksh.reshape(b, k, -1, block, h))
    per_block = rule.per_block(block)
    if key_rbkcph.shape[1:] != (b, k, slots // block, per_block, h):
        raise ValueError(
            f"the rule {rule.name}: compared must give [R, B, K, C, P, H] with {per_block} keys for a block, as "
            f"per_block says, got {key_rbkcph.shape}"
        )
    residues = key_rbkcph.shape[0]
    best_blocks = best_by_maximum if is_gpu(current_target()) else best_by_sorting

    def of_query(operand: tuple[jax.Array, ...]) -> jax.Array:
        q_bkgh, pos_b, own_b = operand
        is_earlier_bc = place_c < own_b[:, None]
        key_bkcph = key_rbkcph[0] if residues == 1 else key_rbkcph[(-1 - pos_b) % residues, jnp.arange(b)]
        score_bkc = _scores(q_bkgh, key_bkcph, is_earlier_bc)
        is_always_bc = (place_c < rule.sinks) | (place_c > own_b[:, None] - rule.window)
        score_bkc = jnp.where(is_always_bc[:, None], jnp.inf, score_bkc)
        return best_blocks(jnp.where(is_earlier_bc[:, None], score_bkc, -jnp.inf), choice.choices(slots) - 1)

    numbers = n if residues == 1 else max(n, k * h)  # of a key that stands for a block: its logits, and a copy of it
    queries = max(1, SCORES_BYTES // (4 * b * place_c.size * per_block * numbers))
    q_tbkgh = q_btnh.reshape(b, t, k, n // k, h).swapaxes(0, 1)
    best_tbkj = lax.map(of_query, (q_tbkgh, q_pos_bt.T, own_bt.T), batch_size=queries)
    own_1btk = jnp.broadcast_to(own_bt[None, ..., None], (1, b, t, k))
    return ChosenBlocks(block, choice.topk, jnp.concatenate([own_1btk, jnp.moveaxis(best_tbkj, (3, 1), (0, 1))]))


def _scores(q_bkgh: jax.Array, key_bkcph: jax.Array, is_earlier_bc: jax.Array) -> jax.Array:
    """float32 [B, K, C]: the logarithm of the probabilities of the keys of each block before, summed over a group's
    query heads: of those that are too small for float32 too, one is greater."""
    dtype = jnp.promote_types(q_bkgh.dtype, key_bkcph.dtype)
    q_bkgh, key_bkcph = q_bkgh.astype(dtype), key_bkcph.astype(dtype)
    product = jnp.einsum(
        "bkgh,bkcph->bkgcp", q_bkgh, key_bkcph, precision="highest", preferred_element_type=jnp.float32
    )
    hidden = jnp.finfo(jnp.float32).min  # finite: a query without a block before its own divides no zero by zero
    logit_bkgcp = jnp.where(is_earlier_bc[:, None, None, :, None], q_bkgh.shape[-1] ** -0.5 * product, hidden)
    block_bkgc = jax.nn.logsumexp(logit_bkgcp, axis=-1)
    return jax.nn.logsumexp(block_bkgc - jax.nn.logsumexp(block_bkgc, axis=-1, keepdims=True), axis=2)
