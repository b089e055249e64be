"""What one program of the Hopper kernel works on, and the memory and barriers that its warpgroups share."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from attention.kernels.pallas_ranges import Ranges, masked_tile
from attention.kernels.tiles import MOSAIC_KEYS
from attention.kernels.tiles import MOSAIC_ROWS as ROWS

STAGES: Final = 2
"""Tiles of keys and of values in shared memory; twice as many of head size 64."""
CLUSTER: Final = 2
"""Programs that have each tile of keys and values brought once for all of them, into the shared memory of each.  The
card runs against its limit of power, and bytes from the L2 cache cost some of that."""
CACHE_BYTES: Final = 40_000_000
"""Of keys and values that stay in the L2 cache: of the H100's 50 MB, most."""


class Static(NamedTuple):
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
    keys: int  # of a tile
    stages: int
    q_buffers: int  # items whose queries are in shared memory: the next one's too, where there is room for both
    interpret: bool


def make_static(q: Any, k: Any, pos: Any, programs: int, interpret: bool) -> Static:
    """How the work on operands of these shapes is shared out among so many programs.

    Two programs form a cluster where heads see the same of the same keys; the interpreter of jax 0.10 knows none.
    """
    (b, t, n, h), (_, s, kv_heads, _) = q.shape, k.shape
    row_tiles, group = t // (2 * ROWS), n // kv_heads
    cluster = math.gcd(CLUSTER, group, n // pos.shape[1], programs)
    if interpret and jax.__version_info__ < (0, 11):
        cluster = 1
    items, kv_bytes = row_tiles * n * b // cluster, 2 * k.dtype.itemsize * s * h
    together = max(d for d in range(1, kv_heads + 1) if kv_heads % d == 0 and (d == 1 or d * kv_bytes <= CACHE_BYTES))
    return Static(
        n_heads=n, group=group, head_dim=h, row_tiles=row_tiles, cluster=cluster, band=group * together, items=items,
        clusters=min(items, programs // cluster), seen_heads=pos.shape[1], seen_batch=pos.shape[0],
        keys=MOSAIC_KEYS[h], stages=2 * STAGES if h == 64 else STAGES, q_buffers=1 if h == 256 else 2,
        interpret=interpret,
    )  # fmt: skip


class Memory(NamedTuple):
    """Shared memory, and barriers: `full` when a tile has come, `free` when whoever reads it is through."""

    q: Any  # of each item at hand and both warpgroups, [q_buffers * 2, rows, H]: also where the result is put
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

    def rows(self, warpgroup: jax.Array | int) -> slice | pl.Slice:
        return pl.ds(self.row_tile * (2 * ROWS) + warpgroup * ROWS, ROWS)

    def tile(self, i: jax.Array) -> jax.Array:
        """The i-th tile of keys."""
        masked = masked_tile(self.bounds, i - self.n_dense)
        return jnp.where(i < self.n_dense, self.bounds.dense_start + i, masked)


def count_items(cluster: jax.Array, static: Static) -> jax.Array:
    """Of each program of a cluster."""
    rounds, rest = divmod(static.items, static.clusters)
    return rounds + (_turning(cluster, rounds, static) < rest).astype(jnp.int32)


def item_place(cluster: jax.Array, rank: jax.Array | int, j: jax.Array, static: Static) -> tuple[jax.Array, ...]:
    """(batch, head, row tile) of the j-th item of a program, the `rank`-th of its cluster."""
    steps = static.band // static.cluster
    band, number = _divide(j * static.clusters + _turning(cluster, j, static), static.row_tiles * steps)
    row_tile, step = _divide(number, steps)
    batch, band = _divide(band, static.n_heads // static.band)
    return (
        batch,
        band * static.band + step * static.cluster + rank,
        static.row_tiles - 1 - row_tile,
    )  # longest walks first


def seen_place(batch: jax.Array, head: jax.Array, static: Static) -> tuple[jax.Array, jax.Array]:
    """Batch and head in what says who sees what."""
    return batch if static.seen_batch > 1 else jnp.int32(0), _divide(head, static.n_heads // static.seen_heads)[0]


def _divide(number: jax.Array, by: int) -> tuple[jax.Array, jax.Array]:
    """Quotient and rest of a number that is not negative."""
    return lax.div(number, jnp.int32(by)), lax.rem(number, jnp.int32(by))


def _turning(cluster: jax.Array, j: jax.Array | int, static: Static) -> jax.Array:
    """Place of a cluster in the j-th round: from the first to the last, then back, so that loads even out."""
    return jnp.where(j % 2 == 0, cluster, static.clusters - 1 - cluster)


def count_tiles(bounds: Ranges) -> jax.Array:
    """Tiles of keys that are visited; one, all masked, where nothing is seen, for the result is to be written."""
    return jnp.maximum(1, bounds.sink_end - bounds.sink_start + bounds.near_end - bounds.near_start)
