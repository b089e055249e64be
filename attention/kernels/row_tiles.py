"""Rows sorted into tiles of one group each, whatever the split: experts' rows, queries by span, queries by block."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class RowTiles(NamedTuple):
    """Rows sorted by group, in their old order within one, and cut into tiles of one group each.

    Attributes:
        group_i: group of each tile, [tiles].
        row_it: index of each tile's rows, -1 for padding, [tiles, row_tile].
        place_r: where each row ended up, as an index into the flattened tiles, [rows].
        n_used: tiles that hold any row; the others come last.
    """

    group_i: jax.Array
    row_it: jax.Array
    place_r: jax.Array
    n_used: jax.Array


FEW_GROUPS = 256
"""Up to so many, rows are compared with all groups at once: on a GPU few counters contend, and a binary search is a
loop of launches.  More groups grow with the prompt (blocks of keys do), and such a table would be quadratic."""


def tile_rows(group_r: jax.Array, n_groups: int, row_tile: int) -> RowTiles:
    """The tile table for rows of the given groups; any split over the groups fits."""
    rows = group_r.size
    sorted_group_r, order_r = lax.sort((group_r, jnp.arange(rows)), num_keys=1)
    few = n_groups <= FEW_GROUPS
    if few:
        rows_e = (group_r[:, None] == jnp.arange(n_groups)).sum(0)
    else:
        rows_e = jnp.diff(jnp.searchsorted(sorted_group_r, jnp.arange(n_groups + 1, dtype=group_r.dtype)))
    tiles_e = -(-rows_e // row_tile)
    first_row_e, first_tile_e = (jnp.cumsum(x) - x for x in (rows_e, tiles_e))
    n_tiles = most_tiles(rows, n_groups, row_tile)

    within_r = jnp.arange(rows) - first_row_e[sorted_group_r]
    sorted_place_r = first_tile_e[sorted_group_r] * row_tile + within_r
    row_it = jnp.full(n_tiles * row_tile, -1).at[sorted_place_r].set(order_r).reshape(n_tiles, row_tile)
    method = "compare_all" if few else "scan"
    group_i = jnp.searchsorted(jnp.cumsum(tiles_e), jnp.arange(n_tiles), side="right", method=method)
    place_r = jnp.zeros(rows, sorted_place_r.dtype).at[order_r].set(sorted_place_r)
    return RowTiles(jnp.minimum(group_i, n_groups - 1), row_it, place_r, tiles_e.sum())


def each_apart(group_r: jax.Array, row_tile: int) -> RowTiles:
    """A tile for each row, in the order that they have: nothing to sort, and a group that comes twice is read twice."""
    row_r = np.arange(group_r.size, dtype=np.int32)  # on the host: constants that no step computes again
    row_it = np.where(np.arange(row_tile) == 0, row_r[:, None], -1)
    return RowTiles(group_r, *map(jnp.asarray, (row_it, row_r * row_tile, np.int32(group_r.size))))


def most_tiles(rows: int, n_groups: int, row_tile: int) -> int:
    """Tiles that any split needs at most: one ragged tile for each group in use."""
    return min(rows, n_groups) + rows // row_tile


def choose_row_tile(rows: int, n_groups: int, most: int = 128) -> int:
    """A power of two near the mean rows per group: larger tiles would be mostly padding."""
    return max(1, min(most, 1 << max(rows // n_groups, 1).bit_length() - 1))
