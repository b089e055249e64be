"""Heavy hitters: keys that drew most attention so far (H2O: Zhang et al., 2306.14048)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from attention.backends.dense import DENSE_SCORES_LIMIT
from attention.backends.pallas import pallas_cannot
from attention.cost import Heads
from attention.eviction.policy import CachedKeys, CacheShape, Policy, Queries, State, grouped, product
from attention.kernels.target import current_target

QUERY_TILE = 64
"""Queries whose probabilities exist at the same time, where the kernel does not run."""


class H2O(Policy):
    """score = sum over all queries so far, and over the heads of a group, of the probability that they gave the key.

    Probabilities are computed again tile by tile, exp(q·k/sqrt(H) - lse), and only their sum is kept, in the key's
    slot: by the kernel of `attention.kernels.pallas_key_mass` on a GPU where it pays, else by a scan in plain XLA.
    Half of the budget is for the newest keys unless `recent` says otherwise, as published.
    """

    name = "h2o"
    needs_lse = True

    def default_recent(self, budget: int) -> int:
        return budget // 2

    def init_state(self, shape: CacheShape, dtype: jax.typing.DTypeLike) -> State:
        return State(by_slot=jnp.zeros((shape.batch, shape.n_kv_heads, shape.slots), jnp.float32))

    def observe(self, state: State, queries: Queries, cached: CachedKeys) -> State:
        # The sums only choose keys, so no derivative goes through them.
        assert queries.lse_bnt is not None  # `needs_lse`
        q_btnh, lse_bnt, keys_bskh = lax.stop_gradient((queries.q_btnh, queries.lse_bnt, cached.keys_bskh))
        mass = summing(q_btnh, keys_bskh)
        return State(by_slot=state.by_slot + mass(q_btnh, keys_bskh, lse_bnt, queries.slot_t, cached.valid_bks))

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        return state.by_slot

    def useful_observe_flops(self, heads: Heads, queries: int, pairs: int) -> int:
        """One product of a query and a key for every pair that sees each other."""
        return 2 * heads.head_dim * pairs

    def observe_flops(self, heads: Heads, keys: int, queries: int) -> int:
        """As `Policy` has it; of the scan: the kernel declares what its tiles cost, which depend on the device."""
        tile, n_tiles = _tiles(queries)
        return 2 * heads.n_heads * tile * n_tiles * keys * heads.head_dim


def summing(q_btnh: jax.Array, keys_bskh: jax.Array) -> Callable[..., jax.Array]:
    """The kernel, but for a few scores and for float32, which no matrix unit multiplies exactly: there a library's
    product is faster than what Triton makes of it."""
    many = q_btnh.shape[1] * keys_bskh.shape[1] > DENSE_SCORES_LIMIT
    short = q_btnh.dtype in (jnp.bfloat16, jnp.float16)
    able = q_btnh.dtype == keys_bskh.dtype and pallas_cannot(q_btnh.shape[-1], current_target()) is None
    if not (many and short and able):
        return key_mass
    from attention.kernels.pallas_key_mass import key_mass_pallas  # loads Triton's compiler

    return key_mass_pallas


def key_mass(
    q_btnh: jax.Array, keys_bskh: jax.Array, lse_bnt: jax.Array, slot_t: jax.Array, valid_bks: jax.Array
) -> jax.Array:
    """`attention.kernels.pallas_key_mass.key_mass_pallas` in plain XLA, in float32, for any device and head size."""
    (b, t), (s, k) = q_btnh.shape[:2], keys_bskh.shape[1:3]
    tile, n_tiles = _tiles(t)
    missing = n_tiles * tile - t

    def tiles(x: jax.Array, axis: int, filler: float) -> jax.Array:  # [..., T, ...] -> [tiles, ..., tile, ...]
        x = jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)], constant_values=filler)
        return jnp.moveaxis(x.reshape(*x.shape[:axis], n_tiles, tile, *x.shape[axis + 1 :]), axis, 0)

    def add(mass_bks: jax.Array, operands: tuple) -> tuple[jax.Array, None]:
        q_btnh, lse_bnt, slot_t = operands
        scores_bkgts = product("btkgh,bskh->bkgts", grouped(q_btnh, k), keys_bskh) / q_btnh.shape[-1] ** 0.5
        lse_bkgt = lse_bnt.reshape(b, k, -1, tile)
        visible = valid_bks[:, :, None, None] & (jnp.arange(s) <= slot_t[:, None]) & jnp.isfinite(lse_bkgt[..., None])
        p_bkgts = jnp.where(visible, jnp.exp(scores_bkgts - lse_bkgt[..., None]), 0)
        return mass_bks + p_bkgts.sum((2, 3)), None

    operands = tiles(q_btnh, 1, 0), tiles(lse_bnt, 2, jnp.inf), tiles(slot_t, 0, -1)
    return lax.scan(add, jnp.zeros((b, k, s), jnp.float32), operands)[0]


def _tiles(queries: int) -> tuple[int, int]:
    """Queries in a tile, and tiles."""
    tile = min(QUERY_TILE, queries)
    return tile, -(-queries // tile)
