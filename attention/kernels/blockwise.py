"""Attention in plain XLA that visits only what is visible, on any device, in memory linear in the prompt.

One tile of queries at a time walks over the keys.  The keys are cut into granules; `classify_tiles` says from
positions alone which granules the tile can see.  Visible granules are covered greedily by blocks of several
granules, so that a block may start at any granule: a window of W costs about W + q_tile keys a query instead of the
next multiple of a large block, while each matrix product stays large.  What is left of a run, or stands alone like
sinks, takes half a block or a granule.  An online softmax (Milakov & Gimelshein, 1805.02867) merges the blocks; a
block that is visible throughout skips the mask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from attention.kernels.cover import GRANULE, Blocks, choose_blocks, granule_kinds, visit_name, walk_name
from attention.pattern import SpanPattern, Tile, pad_positions, tile_bounds, visible


def attend_blockwise(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_bt: jax.Array,
    kv_pos_bks: jax.Array,
    pattern: SpanPattern,
    blocks: Blocks | None = None,
) -> tuple[jax.Array, jax.Array]:
    """`attend_dense`, skipping what is invisible: ([B, T, N, H], granules visited as an int32 scalar).

    A visited granule is `q_tile x GRANULE` pairs in every head of the walk: see `executed_pairs`.
    """
    (b, t, n, h), (s, k) = q_btnh.shape, k_bskh.shape[1:3]
    g = n // k
    blocks = blocks or choose_blocks(pattern, t, s, g)
    span_kg, sink_kg = (jnp.asarray(x, jnp.int32).reshape(k, g) for x in zip(*pattern.per_head(n), strict=True))

    # Streams (b, k) with equal positions and spans walk the same blocks, so they share one walk as a batch of
    # products; the others take turns.
    own_batch = max(q_pos_bt.shape[0], kv_pos_bks.shape[0]) > 1
    own_head = kv_pos_bks.shape[1] > 1 or not pattern.is_uniform
    walks_b, walks_k = b if own_batch else 1, k if own_head else 1
    walks = walks_b * walks_k

    def by_walk(x: jax.Array) -> jax.Array:  # [B, T or S, K, ...] -> [walks, B of a walk, T or S, K of a walk, ...]
        x = x.reshape(walks_b, b // walks_b, x.shape[1], walks_k, k // walks_k, *x.shape[3:])
        return jnp.moveaxis(x, 3, 1).reshape(walks, *x.shape[1:3], *x.shape[4:])

    def one_of_walk(x: jax.Array) -> jax.Array:  # what a walk's streams have in common
        return jnp.broadcast_to(x, (walks_b, walks_k, *x.shape[2:])).reshape(walks, *x.shape[2:])

    operands = (
        *(by_walk(x) for x in (q_btnh.reshape(b, t, k, g, h), k_bskh, v_bskh)),
        *(one_of_walk(x) for x in (q_pos_bt[:, None], kv_pos_bks, span_kg[None, :walks_k], sink_kg[None, :walks_k])),
    )
    walk = _named(walk_name(blocks), partial(_walk, blocks=blocks))
    if walks == 1:
        out, visited = walk(*(x[0] for x in operands))
    else:
        out, visited = lax.map(lambda xs: walk(*xs), operands)
    out = out.reshape(walks_b, walks_k, b // walks_b, t, k // walks_k, g, h)
    return jnp.moveaxis(out, 1, 3).reshape(b, t, n, h), visited.sum()


def _walk(
    q_btkgh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_t: jax.Array,
    kv_pos_s: jax.Array,
    span_g: jax.Array,
    sink_g: jax.Array,
    *,
    blocks: Blocks,
) -> tuple[jax.Array, jax.Array]:
    """B x K streams that share positions and spans: ([B, T, K, G, H], granules visited).

    Keys and values, read by many tiles, get their heads in front of their slots once; queries and results tile by
    tile, while they are in the cache.
    """
    b, t, k, g, h = q_btkgh.shape
    q_tile, kv_block = blocks.q_tile, blocks.kv_block
    q_pos = pad_positions(q_pos_t, q_tile, jnp).reshape(-1, q_tile)
    q_tiles = jnp.pad(q_btkgh, [(0, 0), (0, q_pos.size - t), (0, 0), (0, 0), (0, 0)]).reshape(b, -1, q_tile, k, g, h)

    # A block may start at the last granule: fill up with empty slots, which nobody sees.
    kv_pos = pad_positions(kv_pos_s, GRANULE, jnp)
    kv_pos = jnp.pad(kv_pos, (0, kv_block - GRANULE), constant_values=-1)
    k_zsh, v_zsh = (
        jnp.pad(x.swapaxes(1, 2).reshape(b * k, -1, h), [(0, 0), (0, kv_pos.size - x.shape[1]), (0, 0)])
        for x in (k_bskh, v_bskh)
    )
    kv_bounds = tile_bounds(kv_pos, GRANULE, jnp)

    def one_tile(operand: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        q_btkgh, q_pos_t = operand
        kinds = granule_kinds(tile_bounds(q_pos_t, q_tile, jnp), kv_bounds, span_g[:, None], sink_g[:, None], jnp)
        next_visible, next_skipped, masked_before = _cover(kinds)
        q = q_btkgh.transpose(0, 2, 3, 1, 4).reshape(b * k, g * q_tile, h)

        def visit(state, n_granules):
            granule, visited, *softmax = state
            start, end, size = granule * GRANULE, granule + n_granules, n_granules * GRANULE
            keys, values = (lax.dynamic_slice_in_dim(x, start, size, axis=1) for x in (k_zsh, v_zsh))
            pos_s = lax.dynamic_slice_in_dim(kv_pos, start, size)
            scores = lax.dot_general(q, keys, (((2,), (2,)), ((0,), (0,))), preferred_element_type=jnp.float32)

            def masked(scores):
                mask_gts = visible(q_pos_t[:, None], pos_s[None], span_g[:, None, None], sink_g[:, None, None])
                return jnp.where(mask_gts.reshape(g * q_tile, size), scores, -jnp.inf)

            is_dense = masked_before[end] == masked_before[granule]
            scores = lax.cond(is_dense, lambda scores: scores, masked, scores)
            return next_visible[end], visited + n_granules, *_accumulate(*softmax, scores, values, h**-0.5)

        visits = [_named(visit_name(size), partial(visit, n_granules=size)) for size in blocks.visit_sizes]

        def next_block(state):
            run = next_skipped[state[0]] - state[0]
            return lax.switch(sum(run > size for size in blocks.visit_sizes[:-1]), visits, state)

        start = (
            next_visible[0],
            jnp.int32(0),
            jnp.full((b * k, g * q_tile), -jnp.inf, jnp.float32),
            jnp.zeros((b * k, g * q_tile), jnp.float32),
            jnp.zeros((b * k, g * q_tile, h), jnp.float32),
        )
        _, visited, _, total, acc = lax.while_loop(lambda state: state[0] < kinds.size, next_block, start)
        out = (acc / jnp.where(total == 0, 1, total)[..., None]).reshape(b, k, g, q_tile, h)
        out = jnp.where(q_pos_t[:, None] >= 0, out, 0).astype(q_btkgh.dtype)
        return out.transpose(0, 3, 1, 2, 4), visited

    out, visited = lax.map(one_tile, (jnp.moveaxis(q_tiles, 1, 0), q_pos))
    return jnp.moveaxis(out, 0, 1).reshape(b, -1, k, g, h)[:, :t], visited.sum()


def _named(name: str, function: Callable) -> Callable:
    """`function` as a call of that name in the jaxpr and in the compiled program, for whoever counts its cost."""

    def call(*operands):
        return function(*operands)

    call.__name__ = call.__qualname__ = name
    return jax.jit(call)


def _cover(kinds: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What the greedy cover asks at granule i: the next visible and the next skipped one from i on, and how many
    before i need a mask."""

    def next_where(wanted: jax.Array) -> jax.Array:
        places = jnp.where(wanted, jnp.arange(kinds.size, dtype=jnp.int32), kinds.size)
        return jnp.pad(lax.cummin(places, reverse=True), (0, 1), constant_values=kinds.size)

    masked_before = jnp.cumsum(kinds != Tile.DENSE, dtype=jnp.int32)
    return next_where(kinds != Tile.SKIP), next_where(kinds == Tile.SKIP), jnp.pad(masked_before, (1, 0))


def _accumulate(top, total, acc, scores, v, scale):
    """One step of the online softmax of scale·scores: running maximum of the scores, running sum, weighted values."""
    new_top = jnp.maximum(top, scores.max(-1))
    finite_top = jnp.where(new_top == -jnp.inf, 0, new_top)  # a row that has seen nothing yet stays at zero weight
    weights = jnp.exp(scale * (scores - finite_top[..., None]))
    rescale = jnp.exp(scale * (top - finite_top))
    values = lax.dot_general(
        weights.astype(v.dtype), v, (((2,), (1,)), ((0,), (0,))), preferred_element_type=jnp.float32
    )
    return new_top, total * rescale + weights.sum(-1), acc * rescale[..., None] + values
