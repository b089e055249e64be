"""The experts' feed-forward over rows sorted by expert, in plain XLA: no dropped token, no product over all experts.

Rows are cut into tiles that belong to one expert each; an int32 table says which.  Every tile reads its expert's
weights at (layer, expert) out of the whole [L, E, ...] stack.  `jax.lax.ragged_dot` is no alternative: on GPUs it
expands to a dense product over all experts.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class RowTiles(NamedTuple):
    """Rows sorted by expert and cut into tiles of one expert each.

    Attributes:
        expert_i: expert of each tile, [tiles].
        row_it: index of each tile's rows into the flat (token, choice) pairs, -1 for padding, [tiles, row_tile].
        place_r: where each pair ended up, as an index into the flattened tiles, [pairs].
        n_used: tiles that hold any row; the others come last.
    """

    expert_i: jax.Array
    row_it: jax.Array
    place_r: jax.Array
    n_used: jax.Array


def tile_rows(expert_r: jax.Array, n_experts: int, row_tile: int) -> RowTiles:
    """The tile table for pairs with the given experts; any split over the experts fits."""
    rows = expert_r.size
    order_r = jnp.argsort(expert_r)
    rows_e = jnp.bincount(expert_r, length=n_experts)
    tiles_e = -(-rows_e // row_tile)
    first_row_e, first_tile_e = (jnp.cumsum(x) - x for x in (rows_e, tiles_e))
    n_tiles = min(rows, n_experts) + rows // row_tile  # at most one ragged tile per expert in use

    sorted_expert_r = expert_r[order_r]
    within_r = jnp.arange(rows) - first_row_e[sorted_expert_r]
    sorted_place_r = first_tile_e[sorted_expert_r] * row_tile + within_r
    row_it = jnp.full(n_tiles * row_tile, -1).at[sorted_place_r].set(order_r).reshape(n_tiles, row_tile)
    expert_i = jnp.searchsorted(jnp.cumsum(tiles_e), jnp.arange(n_tiles), side="right")
    place_r = jnp.zeros(rows, sorted_place_r.dtype).at[order_r].set(sorted_place_r)
    return RowTiles(jnp.minimum(expert_i, n_experts - 1), row_it, place_r, tiles_e.sum())


def choose_row_tile(rows: int, n_experts: int) -> int:
    """A power of two near the mean rows per expert: larger tiles would be mostly padding."""
    return max(1, min(128, 1 << max(rows // n_experts, 1).bit_length() - 1))


@jax.named_scope("experts")
def expert_ffn(
    x_rd: jax.Array,
    expert_rk: jax.Array,
    weight_rk: jax.Array,
    gate_ledf: jax.Array,
    up_ledf: jax.Array,
    down_lefd: jax.Array,
    layer: jax.Array,
    row_tile: int | None = None,
) -> jax.Array:
    """sum over a row's choices of weight · SwiGLU_expert(x), [rows, D] in x's dtype."""
    rows, choices = expert_rk.shape
    n_experts = gate_ledf.shape[1]
    tiles = tile_rows(expert_rk.reshape(-1), n_experts, row_tile or choose_row_tile(rows * choices, n_experts))

    def of_expert(stack: jax.Array, expert: jax.Array) -> jax.Array:
        return lax.dynamic_slice(stack, (layer, expert, 0, 0), (1, 1, *stack.shape[2:]))[0, 0]

    def run_tile(tile):
        expert, row_t = tile
        x_td = x_rd.at[jnp.where(row_t < 0, rows, row_t // choices)].get(mode="fill", fill_value=0)
        gate, up, down = (of_expert(stack, expert) for stack in (gate_ledf, up_ledf, down_lefd))
        return (jax.nn.silu(x_td @ gate) * (x_td @ up)) @ down

    def skip_tile(tile):
        return jnp.zeros((tile[1].size, x_rd.shape[1]), x_rd.dtype)

    def one_tile(_, operand):
        number, tile = operand
        return None, lax.cond(number < tiles.n_used, run_tile, skip_tile, tile)

    numbers = jnp.arange(tiles.expert_i.size)
    _, y_itd = lax.scan(one_tile, None, (numbers, (tiles.expert_i, tiles.row_it)))
    y_rkd = y_itd.reshape(-1, x_rd.shape[1])[tiles.place_r].reshape(rows, choices, -1)
    with jax.named_scope("combine"):
        return jnp.einsum("rk,rkd->rd", weight_rk, y_rkd.astype(jnp.float32)).astype(x_rd.dtype)
