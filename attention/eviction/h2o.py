"""Heavy hitters: keys that drew most attention so far (H2O: Zhang et al., 2306.14048)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from attention.cost import Heads
from attention.eviction.policy import Held, Policy, Queries, Shape, State, grouped, product

QUERY_TILE = 64
"""Queries whose probabilities exist at the same time."""


class H2O(Policy):
    """score = sum over all queries so far, and over the heads of a group, of the probability that they gave the key.

    Probabilities are computed again tile by tile, exp(q·k/sqrt(H) - lse), and only their sum is kept, in the key's
    slot.  Half of the budget is for the newest keys unless `recent` says otherwise, as published.
    """

    name = "h2o"
    needs_lse = True

    @classmethod
    def default_recent(cls, budget: int) -> int:
        return budget // 2

    def init_state(self, shape: Shape, dtype: jax.typing.DTypeLike) -> State:
        return State(by_slot=jnp.zeros((shape.batch, shape.n_kv_heads, shape.slots), jnp.float32))

    def observe(self, state: State, queries: Queries, held: Held) -> State:
        t = queries.q_btnh.shape[1]
        tile, n_tiles = _tiles(t)
        missing = n_tiles * tile - t

        def tiles(x: jax.Array, axis: int, filler: float) -> jax.Array:  # [..., T, ...] -> [tiles, ..., tile, ...]
            x = jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)], constant_values=filler)
            return jnp.moveaxis(x.reshape(*x.shape[:axis], n_tiles, tile, *x.shape[axis + 1 :]), axis, 0)

        def add(mass_bks: jax.Array, operands: tuple) -> tuple[jax.Array, None]:
            q_btnh, lse_bnt, q_slot_t = operands
            k = held.keys_bskh.shape[2]
            scores_bkgts = product("btkgh,bskh->bkgts", grouped(q_btnh, k), held.keys_bskh) / q_btnh.shape[-1] ** 0.5
            lse_bkgt = lse_bnt.reshape(lse_bnt.shape[0], k, -1, tile)
            visible = held.valid_bks[:, :, None, None] & (held.slot_s <= q_slot_t[:, None])
            p_bkgts = jnp.where(visible, jnp.exp(scores_bkgts - lse_bkgt[..., None]), 0)
            return mass_bks + p_bkgts.sum((2, 3)), None

        operands = tiles(queries.q_btnh, 1, 0), tiles(queries.lse_bnt, 2, jnp.inf), tiles(queries.slot_t, 0, -1)
        mass_bks, _ = lax.scan(add, state.by_slot, operands)
        return State(by_slot=mass_bks)

    def score(self, state: State, held: Held) -> jax.Array:
        return state.by_slot

    def observe_flops(self, heads: Heads, keys: int, queries: int) -> int:
        tile, n_tiles = _tiles(queries)
        return 2 * heads.n_heads * tile * n_tiles * keys * heads.head_dim


def _tiles(queries: int) -> tuple[int, int]:
    """Queries in a tile, and tiles."""
    tile = min(QUERY_TILE, queries)
    return tile, -(-queries // tile)
