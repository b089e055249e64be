"""The reverse mode of the experts' feed-forward: tile by tile, each expert's gradient added up where it lies.

What JAX makes of the loop over tiles adds a gradient of the whole stack [L, E, ...] at every tile; here a tile adds
that of its own expert.  Nothing but the operands is kept, and a tile computes its products again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from attention.kernels.row_tiles import RowTiles
from refmodel.kernels.one_matrix import at

Tile = Callable[[jax.Array, Any], jax.Array]
"""(rows [row_tile, D], the matrices and biases of one expert) -> [row_tile, D]."""


def with_gradients_by_tile(run_tiles: Callable[..., jax.Array], tile: Tile, choices: int) -> Callable[..., jax.Array]:
    """`run_tiles`, (x [R, D], stacks, layer, tiles) -> [tiles, row_tile, D], which runs `tile` on each that is used."""
    call = jax.custom_vjp(run_tiles)

    def keep(*operands: Any) -> tuple[jax.Array, tuple[Any, ...]]:
        return run_tiles(*operands), operands

    def backward(operands: tuple[Any, ...], d_y_itd: jax.Array) -> tuple[Any, ...]:
        x_rd, stacks, layer, tiles = operands
        return *_gradients(tile, choices, x_rd, stacks, layer, tiles, d_y_itd), None, None

    call.defvjp(keep, backward)
    return call


def rows_of_tile(x_rd: jax.Array, row_t: jax.Array, choices: int) -> tuple[jax.Array, jax.Array]:
    """The tokens of a tile's rows, beyond the last for padding, and their inputs, 0 there."""
    token_t = jnp.where(row_t < 0, len(x_rd), row_t // choices)
    return token_t, x_rd.at[token_t].get(mode="fill", fill_value=0)


def _gradients(
    tile: Tile, choices: int, x_rd: jax.Array, stacks: Any, layer: jax.Array, tiles: RowTiles, d_y_itd: jax.Array
) -> tuple[jax.Array, Any]:
    def add_tile(i: jax.Array, sums: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        dx_rd, d_layer = sums
        expert = tiles.group_i[i]
        token_t, x_td = rows_of_tile(x_rd, tiles.row_it[i], choices)
        weights = jax.tree.map(lambda stack: at(stack, (layer, expert)), stacks)
        dx_td, d_weights = jax.vjp(tile, x_td, weights)[1](d_y_itd[i])
        dx_rd = dx_rd.at[token_t].add(dx_td.astype(jnp.float32), mode="drop")
        return dx_rd, jax.tree.map(lambda total, one: _add_at(total, one, expert), d_layer, d_weights)

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), (x_rd, jax.tree.map(lambda s: s[0], stacks)))
    dx_rd, d_layer = lax.fori_loop(0, tiles.n_used, add_tile, nothing)
    d_stacks = jax.tree.map(lambda s, d: jnp.zeros_like(s).at[layer].set(d.astype(s.dtype)), stacks, d_layer)
    return dx_rd.astype(x_rd.dtype), d_stacks


def _add_at(total: jax.Array, one: jax.Array, expert: jax.Array) -> jax.Array:
    before = lax.dynamic_index_in_dim(total, expert, keepdims=False)
    return lax.dynamic_update_index_in_dim(total, before + one.astype(total.dtype), expert, axis=0)
