"""The reverse mode of a walk: weights are computed again, block by block, so that memory stays linear in the prompt.

With P = exp(scale·QKᵀ - lse) on visible pairs, O = PV, and delta = rowsum(dO * O) - dlse (FlashAttention-2: Dao,
2307.08691):

    dV = Pᵀ dO      dS = P * (dO Vᵀ - delta)      dQ = scale·dS K      dK = scale·dSᵀ Q

A tile of queries visits the blocks that it visited forward.  Positions, spans and sinks have no derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attention.kernels.cover import GRANULE, Blocks, walk_name
from attention.kernels.score import Score
from attention.kernels.walk import (
    by_stream,
    changed_block,
    cover_of,
    mask_of_rows,
    named,
    products,
    query_tiles,
    tiled,
    untiled,
    walk,
)
from attention.pattern import tile_bounds


class Walked(NamedTuple):
    """What the way back needs: a walk's operands, as `attention.kernels.walk.walk` has them, and its results."""

    q_btkgh: jax.Array
    k_zsh: jax.Array
    v_zsh: jax.Array
    q_pos_t: jax.Array
    kv_pos: jax.Array
    span_gt: jax.Array
    sink_g: jax.Array
    first_head: jax.Array
    out_btkgh: jax.Array
    lse_btkg: jax.Array


def differentiable_walk(
    blocks: Blocks, score: Score | None = None
) -> Callable[..., tuple[jax.Array, jax.Array, jax.Array]]:
    """`walk` with these blocks, under its name, with a reverse mode and without a forward one."""
    forward = named(walk_name(blocks), partial(walk, blocks=blocks, score=score))
    call = jax.custom_vjp(forward)

    def keep(*operands: jax.Array) -> tuple[Any, Walked]:
        found = forward(*operands)
        return found, Walked(*operands, *found[:2])

    def backward(walked: Walked, cotangents: tuple[Any, ...]) -> tuple[jax.Array | None, ...]:
        d_out_btkgh, d_lse_btkg, _ = cotangents
        return *walk_gradients(walked, d_out_btkgh, d_lse_btkg, blocks, score), *[None] * 5

    call.defvjp(keep, backward)
    return call


def walk_gradients(
    walked: Walked, d_out_btkgh: jax.Array, d_lse_btkg: jax.Array, blocks: Blocks, score: Score | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(dq, dk, dv) in the shapes and dtypes of q, k and v, from the cotangents of the output and its log-sum-exp."""
    q_btkgh, k_zsh, v_zsh, q_pos_t, kv_pos, span_gt, sink_g, first_head, out_btkgh, lse_btkg = walked
    b, t, k, g, h = q_btkgh.shape
    scale, q_tile = h**-0.5, blocks.q_tile
    product = partial(products, precision=lax.Precision.HIGHEST)
    kv_bounds = tile_bounds(kv_pos, GRANULE, jnp)
    delta_btkg = (d_out_btkgh.astype(jnp.float32) * out_btkgh.astype(jnp.float32)).sum(-1) - d_lse_btkg
    sees_btkg = lse_btkg > -jnp.inf  # who sees nothing weighs nothing, whatever is asked
    delta_btkg, lse_btkg = jnp.where(sees_btkg, delta_btkg, 0), jnp.where(sees_btkg, lse_btkg, 0)

    def one_tile(d_kv: tuple[jax.Array, jax.Array], operand: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
        *rows, q_pos_t, span_gt = operand
        q, d_out, lse, delta = map(by_stream, rows)
        cover = cover_of(q_pos_t, span_gt, sink_g, kv_bounds)

        def visit(granule: jax.Array, n_granules: int) -> tuple[jax.Array, ...]:
            start, size = granule * GRANULE, n_granules * GRANULE
            keys, values = (lax.dynamic_slice_in_dim(x, start, size, axis=1) for x in (k_zsh, v_zsh))
            pos_s = lax.dynamic_slice_in_dim(kv_pos, start, size)
            mask = mask_of_rows(q_pos_t, pos_s, span_gt, sink_g, g)
            scores, to_products = scale * product(q, keys, (2, 2)), None
            if score is not None:
                change = partial(changed_block, score, q_pos_t=q_pos_t, pos_s=pos_s, first_head=first_head, k=k, g=g)
                scores, to_products = jax.vjp(change, scores)
            weights = jnp.exp(jnp.where(mask, scores - lse[..., None], -jnp.inf))
            d_scores = weights * (product(d_out, values, (2, 2)) - delta[..., None])
            if to_products is not None:  # hidden pairs may have no derivative
                d_scores = jnp.where(mask, to_products(d_scores)[0], 0)
            d_scores = (scale * d_scores).astype(q.dtype)
            d_keys, d_values = product(d_scores, q, (1, 1)), product(weights.astype(d_out.dtype), d_out, (1, 1))
            rest = [(0, 0), (0, blocks.kv_block - size), (0, 0)]  # as long as the longest, to be added in one place
            return product(d_scores, keys, (2, 1)), jnp.pad(d_keys, rest), jnp.pad(d_values, rest)

        visits = [partial(visit, n_granules=size) for size in blocks.visit_sizes]

        def next_block(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            granule, dq, *d_kv = state
            which = cover.size_at(granule, blocks)
            more_dq, *more = lax.switch(which, visits, granule)
            d_kv = [_add_at(x, more_x, granule * GRANULE) for x, more_x in zip(d_kv, more, strict=True)]
            return cover.next_visible[granule + jnp.asarray(blocks.visit_sizes)[which]], dq + more_dq, *d_kv

        start: tuple[jax.Array, ...] = cover.next_visible[0], jnp.zeros(q.shape, jnp.float32), *d_kv
        _, dq, dk, dv = lax.while_loop(lambda state: state[0] < cover.granules, next_block, start)
        return (dk, dv), jnp.moveaxis(dq.reshape(b, k, g, q_tile, h), 3, 1).astype(q.dtype)

    nothing = jnp.zeros(k_zsh.shape, jnp.float32), jnp.zeros(v_zsh.shape, jnp.float32)
    by_tile = [tiled(x, q_tile) for x in (q_btkgh, d_out_btkgh, lse_btkg, delta_btkg)]
    (dk, dv), dq = lax.scan(one_tile, nothing, (*by_tile, *query_tiles(q_pos_t, span_gt, q_tile)))
    return untiled(dq, t), dk.astype(k_zsh.dtype), dv.astype(v_zsh.dtype)


def _add_at(x_zsh: jax.Array, more_zsh: jax.Array, start: jax.Array) -> jax.Array:
    before = lax.dynamic_slice_in_dim(x_zsh, start, more_zsh.shape[1], axis=1)
    return lax.dynamic_update_slice_in_dim(x_zsh, before + more_zsh, start, axis=1)
