"""What one program of the Hopper kernel works on, and the memory and barriers that its warpgroups share."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from attention.kernels.pallas_ranges import Ranges, masked_tile

HEAD_SIZES: Final = 64, 128
ROWS: Final = 64
"""Queries of a warpgroup: what one instruction of Hopper's tensor cores takes."""
KEYS: Final = 128
"""Keys of a tile."""


class Shape(NamedTuple):
    """What a kernel is compiled for."""

    n_heads: int
    group: int  # query heads of a key-value head
    head_dim: int
    row_tiles: int
    cluster: int  # programs of a cluster: each takes one of as many heads, and they share keys and values
    band: int  # heads that are worked on at a time
    items: int  # row tiles of all heads and batches, those of a cluster's heads together one
    clusters: int
    seen_heads: int  # heads and batches that see something of their own, or 1
    seen_batch: int
    stages: int
    interpret: bool


class Memory(NamedTuple):
    """Shared memory, and barriers: `full` when a tile has come, `free` when whoever reads it is through."""

    q: Any  # of two items and both warpgroups, [4, rows, H]: also where the result is put
    k: Any
    v: Any
    q_full: Any
    q_free: Any
    k_full: Any
    k_free: Any
    v_full: Any
    v_free: Any
    turn: Any  # of each warpgroup at the tensor cores
    lse: Any = None


class Item(NamedTuple):
    """128 queries of one head, and the tiles of keys that they visit: first those that need no mask."""

    batch: jax.Array
    head: jax.Array
    row_tile: jax.Array
    seen: tuple[jax.Array, jax.Array]  # batch and head in what says who sees what
    bounds: Ranges

    @property
    def n_dense(self) -> jax.Array:
        return self.bounds.dense_end - self.bounds.dense_start

    @property
    def n_tiles(self) -> jax.Array:
        return count_tiles(self.bounds)

    def rows(self, warpgroup: jax.Array | int) -> pl.Slice:
        return pl.ds(self.row_tile * (2 * ROWS) + warpgroup * ROWS, ROWS)

    def key(self, i: jax.Array) -> jax.Array:
        """First key of the i-th tile."""
        masked = masked_tile(self.bounds, i - self.n_dense)
        return jnp.where(i < self.n_dense, self.bounds.dense_start + i, masked) * KEYS


def count_tiles(bounds: Ranges) -> jax.Array:
    """Tiles of keys that are visited; one, all masked, where nothing is seen, for the result is to be written."""
    return jnp.maximum(1, bounds.sink_end - bounds.sink_start + bounds.near_end - bounds.near_start)
