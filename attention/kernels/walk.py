"""One walk over the keys, by streams that share positions and spans: what `attention.kernels.blockwise` is made of.

One tile of queries at a time visits what `attention.kernels.cover` says; an online softmax (Milakov & Gimelshein,
1805.02867) merges the blocks, and a block that is visible throughout skips the mask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attention.kernels.cover import GRANULE, Blocks, granule_kinds, visit_name
from attention.kernels.score import Score, changed
from attention.pattern import Tile, pad_positions, query_bounds, tile_bounds, visible


def walk(
    q_btkgh: jax.Array,
    k_zsh: jax.Array,
    v_zsh: jax.Array,
    q_pos_t: jax.Array,
    kv_pos: jax.Array,
    span_gt: jax.Array,
    sink_g: jax.Array,
    first_head: jax.Array,
    *,
    blocks: Blocks,
    score: Score | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """B x K streams that share positions and spans: ([B, T, K, G, H], log-sum-exp [B, T, K, G], granules visited).

    Keys and values, read by many tiles, have their heads in front of their slots; queries and results are turned tile
    by tile, while they are in the cache.  Spans [G or 1, T or 1], sinks [G or 1].  `score` changes the scores, and
    is told heads from `first_head` on.
    """
    b, t, k, g, h = q_btkgh.shape
    q_tile = blocks.q_tile
    q_pos, span_igt = query_tiles(q_pos_t, span_gt, q_tile)
    kv_bounds = tile_bounds(kv_pos, GRANULE, jnp)
    scale = h**-0.5 if score is None else 1.0  # of what is accumulated: a function reads scores that are scaled

    def one_tile(operand: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        q_btkgh, q_pos_t, span_gt = operand
        cover = cover_of(q_pos_t, span_gt, sink_g, kv_bounds)
        q = by_stream(q_btkgh)

        def visit(state: tuple[jax.Array, ...], n_granules: int) -> tuple[jax.Array, ...]:
            granule, visited, top, total, acc = state
            start, end, size = granule * GRANULE, granule + n_granules, n_granules * GRANULE
            keys, values = (lax.dynamic_slice_in_dim(x, start, size, axis=1) for x in (k_zsh, v_zsh))
            pos_s = lax.dynamic_slice_in_dim(kv_pos, start, size)
            scores = products(q, keys, (2, 2))
            if score is not None:
                scores = changed_block(score, h**-0.5 * scores, q_pos_t, pos_s, first_head, k, g)

            def masked(scores: jax.Array) -> jax.Array:
                return jnp.where(mask_of_rows(q_pos_t, pos_s, span_gt, sink_g, g), scores, -jnp.inf)

            is_dense = cover.masked_before[end] == cover.masked_before[granule]
            scores = lax.cond(is_dense, lambda scores: scores, masked, scores)
            return cover.next_visible[end], visited + n_granules, *_accumulate(top, total, acc, scores, values, scale)

        visits = [named(visit_name(size), partial(visit, n_granules=size)) for size in blocks.visit_sizes]

        def next_block(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            return lax.switch(cover.size_at(state[0], blocks), visits, state)

        start: tuple[jax.Array, ...] = (
            cover.next_visible[0],
            jnp.int32(0),
            jnp.full((b * k, g * q_tile), -jnp.inf, jnp.float32),
            jnp.zeros((b * k, g * q_tile), jnp.float32),
            jnp.zeros((b * k, g * q_tile, h), jnp.float32),
        )
        _, visited, top, total, acc = lax.while_loop(lambda state: state[0] < cover.granules, next_block, start)
        out = (acc / jnp.where(total == 0, 1, total)[..., None]).reshape(b, k, g, q_tile, h)
        out = jnp.where(q_pos_t[:, None] >= 0, out, 0).astype(q_btkgh.dtype)
        lse = (scale * top + jnp.log(total)).reshape(b, k, g, q_tile)
        return out.transpose(0, 3, 1, 2, 4), lse.transpose(0, 3, 1, 2), visited

    out, lse, visited = lax.map(one_tile, (tiled(q_btkgh, q_tile), q_pos, span_igt))
    out, lse = (untiled(x, t) for x in (out, lse))
    return out, lse, visited.sum()


class Cover(NamedTuple):
    """What the greedy cover of a tile of queries asks at granule i, [granules + 1] each: the next visible and the next
    skipped one from i on, and how many before i need a mask."""

    next_visible: jax.Array
    next_skipped: jax.Array
    masked_before: jax.Array

    @property
    def granules(self) -> int:
        return self.next_visible.size - 1

    def size_at(self, granule: jax.Array, blocks: Blocks) -> jax.Array:
        """Which of the visits' sizes is taken there: the smallest that ends the run, or the largest."""
        run = self.next_skipped[granule] - granule
        return jnp.asarray(sum(run > size for size in blocks.visit_sizes[:-1]), jnp.int32)


def cover_of(q_pos_t: jax.Array, span_gt: jax.Array, sink_g: jax.Array, kv_bounds: tuple) -> Cover:
    """Of one tile of queries, by the bounds of all granules."""
    kinds = granule_kinds(query_bounds(q_pos_t, span_gt, q_pos_t.size, jnp), kv_bounds, sink_g[:, None], jnp)

    def next_where(wanted: jax.Array) -> jax.Array:
        places = jnp.where(wanted, jnp.arange(kinds.size, dtype=jnp.int32), kinds.size)
        return jnp.pad(lax.cummin(places, reverse=True), (0, 1), constant_values=kinds.size)

    masked_before = jnp.cumsum(kinds != Tile.DENSE, dtype=jnp.int32)
    return Cover(next_where(kinds != Tile.SKIP), next_where(kinds == Tile.SKIP), jnp.pad(masked_before, (1, 0)))


def mask_of_rows(q_pos_t: jax.Array, pos_s: jax.Array, span_gt: jax.Array, sink_g: jax.Array, g: int) -> jax.Array:
    """Who sees whom in one block: bool [G x q_tile, S]."""
    mask_gts = visible(q_pos_t[:, None], pos_s[None], span_gt[:, :, None], sink_g[:, None, None])
    return jnp.broadcast_to(mask_gts, (g, *mask_gts.shape[1:])).reshape(-1, pos_s.size)


def changed_block(
    score: Score, scores: jax.Array, q_pos_t: jax.Array, pos_s: jax.Array, first_head: jax.Array,
    k: int, g: int,
) -> jax.Array:  # fmt: skip
    """What a function makes of the scaled scores of one block, [B x K, G x q_tile, S]."""
    head_kg = first_head + jnp.arange(k * g, dtype=jnp.int32).reshape(k, g, 1, 1)
    scores_bkgts = scores.reshape(-1, k, g, q_pos_t.size, pos_s.size)
    return changed(score, scores_bkgts, q_pos_t[:, None], pos_s, head_kg).reshape(scores.shape)


def query_tiles(q_pos_t: jax.Array, span_gt: jax.Array, q_tile: int) -> tuple[jax.Array, jax.Array]:
    """Positions [tiles, q_tile] and spans [tiles, G or 1, q_tile or 1]."""
    q_pos = pad_positions(q_pos_t, q_tile, jnp).reshape(-1, q_tile)
    if span_gt.shape[1] == 1:
        return q_pos, jnp.broadcast_to(span_gt, (len(q_pos), *span_gt.shape))
    padded = jnp.pad(span_gt, ((0, 0), (0, q_pos.size - q_pos_t.size)), mode="edge")
    return q_pos, padded.reshape(len(span_gt), -1, q_tile).swapaxes(0, 1)


def tiled(x_bt: jax.Array, q_tile: int) -> jax.Array:
    """[B, T, ...] as [tiles, B, q_tile, ...], filled up with zeros."""
    b, t, *rest = x_bt.shape
    x_bt = jnp.pad(x_bt, [(0, 0), (0, -t % q_tile), *[(0, 0)] * len(rest)])
    return jnp.moveaxis(x_bt.reshape(b, -1, q_tile, *rest), 1, 0)


def untiled(x_ibt: jax.Array, tokens: int) -> jax.Array:
    """The way back."""
    x_bit = jnp.moveaxis(x_ibt, 0, 1)
    return x_bit.reshape(len(x_bit), -1, *x_bit.shape[3:])[:, :tokens]


def by_stream(x_btkg: jax.Array) -> jax.Array:
    """A tile [B, q_tile, K, G, ...] as its streams' rows, [B x K, G x q_tile, ...]."""
    b, t, k, g, *rest = x_btkg.shape
    return jnp.moveaxis(x_btkg, 1, 3).reshape(b * k, g * t, *rest)


def named(name: str, function: Callable) -> Callable:
    """`function` as a call of that name in the jaxpr and in the compiled program, for whoever counts its cost."""

    def call(*operands: Any) -> Any:
        return function(*operands)

    call.__name__ = call.__qualname__ = name
    return jax.jit(call)


def products(x: jax.Array, y: jax.Array, axes: tuple[int, int], precision: lax.Precision | None = None) -> jax.Array:
    """A product for each stream, contracting an axis of x with one of y; of one stream a plain product, which compilers
    leave as it is: one with a batch of 1 is rewritten and loses the name by which it is counted."""
    dot = partial(lax.dot_general, precision=precision, preferred_element_type=jnp.float32)
    of_x, of_y = axes
    if len(x) == 1:
        return dot(x[0], y[0], (((of_x - 1,), (of_y - 1,)), ((), ())))[None]
    return dot(x, y, (((of_x,), (of_y,)), ((0,), (0,))))


def _accumulate(
    top: jax.Array, total: jax.Array, acc: jax.Array, scores: jax.Array, v: jax.Array, scale: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One step of the online softmax of scale·scores: running maximum of the scores, running sum, weighted values."""
    new_top = jnp.maximum(top, scores.max(-1))
    finite_top = jnp.where(new_top == -jnp.inf, 0, new_top)  # a row that has seen nothing yet stays at zero weight
    weights = jnp.exp(scale * (scores - finite_top[..., None]))
    rescale = jnp.exp(scale * (top - finite_top))
    values = products(weights.astype(v.dtype), v, (2, 1))
    return new_top, total * rescale + weights.sum(-1), acc * rescale[..., None] + values
