"""What queries to come can be expected to look at (Expected Attention: Devoto et al., 2510.00636)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from attention.cost import Heads
from attention.eviction.policy import CachedKeys, CacheShape, Policy, Queries, Retention, State, grouped, product

FUTURE = 512
"""Positions after the newest token over which the rotation is averaged."""


class Moments(NamedTuple):
    """Of the chunk's queries before rotary positions, sinks left out: how many, mean [B, N, H], scatter [B, N, H, H].

    The scatter is the sum of (q - mean)(q - mean)ᵀ.
    """

    n_queries: jax.Array
    mean_bnh: jax.Array
    scatter_bnhh: jax.Array


class ExpectedAttention(Policy):
    """score = |v| · mean over the group of softmax over keys of mu·k/sqrt(H) + kᵀ Sigma k/(2H).

    mu and Sigma are mean and covariance of the chunk's queries before rotary positions, turned by the mean rotation
    of the next 512 positions: under normal queries, the expectation of exp(q·k/sqrt(H)).
    """

    name = "expected_attention"
    needs_rope = True

    def init_state(self, shape: CacheShape, dtype: jax.typing.DTypeLike) -> State:
        b, n, h = shape.batch, shape.n_heads, shape.head_dim
        zeros = (jnp.zeros(s, jnp.float32) for s in ((), (b, n, h), (b, n, h, h)))
        return State(running=Moments(*zeros))

    def observe(self, state: State, queries: Queries, cached: CachedKeys) -> State:
        cos_th, sin_th = _rotation(queries.pos_t, queries.q_btnh.shape[-1], cached.rope_theta)
        q_btnh = _turn(queries.q_btnh.astype(jnp.float32), cos_th[:, None], -sin_th[:, None])
        counts_t11 = (queries.pos_t >= cached.retention.sinks)[:, None, None]
        n_new = counts_t11.sum().astype(jnp.float32)
        mean_bnh = jnp.where(counts_t11, q_btnh, 0).sum(1) / jnp.maximum(n_new, 1)
        off_btnh = jnp.where(counts_t11, q_btnh - mean_bnh[:, None], 0)
        scatter_bnhh = product("btni,btnj->bnij", off_btnh, off_btnh)

        # Two samples become one (Chan et al., 1979).
        old = state.running
        n_old = jnp.where(queries.opens_chunk, 0, old.n_queries)
        total = jnp.maximum(n_old + n_new, 1)
        apart_bnh = mean_bnh - old.mean_bnh
        between_bnhh = apart_bnh[..., :, None] * apart_bnh[..., None, :] * (n_old * n_new / total)
        return State(
            running=Moments(
                n_old + n_new,
                (n_old * old.mean_bnh + n_new * mean_bnh) / total,
                jnp.where(queries.opens_chunk, 0, old.scatter_bnhh) + scatter_bnhh + between_bnhh,
            )
        )

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        count, mean_bnh, scatter_bnhh = state.running
        head_dim = mean_bnh.shape[-1]
        cos, sin = (x.mean(0) for x in _rotation(cached.length + jnp.arange(FUTURE), head_dim, cached.rope_theta))
        turned = _turn(scatter_bnhh / jnp.maximum(count, 1), cos, sin)
        covariance_bnhh = _turn(turned.swapaxes(-1, -2), cos, sin)
        keys_bskh, k = cached.keys_bskh.astype(jnp.float32), cached.keys_bskh.shape[2]
        mean_bkgh = grouped(_turn(mean_bnh, cos, sin)[:, None], k)[:, 0]
        covariance_bkghh = covariance_bnhh.reshape(*mean_bkgh.shape, head_dim)
        linear_bkgs = product("bkgh,bskh->bkgs", mean_bkgh, keys_bskh) / head_dim**0.5
        half_bkgsi = product("bkgij,bskj->bkgsi", covariance_bkghh, keys_bskh)
        square_bkgs = (half_bkgsi * jnp.moveaxis(keys_bskh, 1, 2)[:, :, None]).sum(-1) / (2 * head_dim)
        wanted_bks = cached.valid_bks & (cached.pos_bks >= cached.retention.sinks)
        scores_bkgs = jnp.where(wanted_bks[:, :, None], linear_bkgs + square_bkgs, -jnp.inf)
        value_norm_bks = jnp.linalg.norm(cached.values_bskh.astype(jnp.float32), axis=-1).swapaxes(1, 2)
        return jax.nn.softmax(scores_bkgs, axis=-1).mean(2) * value_norm_bks

    def score_flops(self, heads: Heads, keys: int, retention: Retention) -> int:
        return 2 * heads.n_heads * keys * heads.head_dim * (1 + heads.head_dim)

    def observe_flops(self, heads: Heads, keys: int, queries: int) -> int:
        return 2 * heads.n_heads * queries * heads.head_dim**2


def _rotation(pos_t: jax.Array, head_dim: int, theta: float | None) -> tuple[jax.Array, jax.Array]:
    """cos and sin of position · theta^(-2i/H), each [T, H/2]."""
    assert theta is not None  # `needs_rope`
    angles_th = pos_t[:, None] * theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    return jnp.cos(angles_th), jnp.sin(angles_th)


def _turn(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotates the pairs (i, i + H/2) of the last axis."""
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
