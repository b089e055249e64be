"""Tokens that differ from what follows them (LagKV: Liang et al., 2504.04704)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from attention.eviction.policy import CachedKeys, Policy, Retention, State


class LagKV(Policy):
    """Partitions of `recent` held tokens after the sinks; each is scaled by the range of the next one.

        score(x) = softmax over the partition of std over channels of (x - min_next) / (max_next - min_next)

    per channel, mean of the score of keys and that of values, then its rank in the partition: every partition gives
    up equally many.  The last whole partition, and what comes after it, stays; with less than two, newer is better.
    """

    name = "lagkv"
    least_recent = 2  # one token has no range

    def default_recent(self, budget: int) -> int:
        return 128

    def reserved(self, retention: Retention) -> int:
        return retention.sinks + 2 * retention.recent - 1

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        slots, sinks, lag = cached.slot_s.size, cached.retention.sinks, cached.retention.recent
        newer_s = cached.slot_s.astype(jnp.float32)
        parts = (slots - sinks) // lag
        if parts < 2:
            return newer_s
        area = slice(sinks, sinks + parts * lag)
        keys_bkml, values_bkml = (_relative(x[:, area], lag) for x in (cached.keys_bskh, cached.values_bskh))
        both_bkml = (keys_bkml + values_bkml) / 2
        rank_bks = both_bkml.argsort().argsort().reshape(*both_bkml.shape[:2], -1) / lag
        rank_bks = jnp.pad(rank_bks, [(0, 0), (0, 0), (sinks, slots - area.stop)])
        return jnp.where(cached.end < sinks + 2 * lag, newer_s, rank_bks)

    def always(self, cached: CachedKeys) -> jax.Array:
        sinks, lag = cached.retention.sinks, cached.retention.recent
        parts = (cached.end - sinks) // lag
        tail = jnp.where(parts < 2, cached.end, sinks + (parts - 1) * lag)
        return (cached.pos_bks < sinks) | (cached.slot_s >= tail)


def _relative(x_bskh: jax.Array, lag: int) -> jax.Array:
    """[B, K, M, L] for M partitions of L tokens; the last one's says nothing, for nothing follows it."""
    b, s, k, h = x_bskh.shape
    x_bmlkh = x_bskh.astype(jnp.float32).reshape(b, s // lag, lag, k, h)
    following = jnp.roll(x_bmlkh, -1, axis=1)
    low, high = following.min(2, keepdims=True), following.max(2, keepdims=True)
    spread_bmlk = ((x_bmlkh - low) / jnp.where(high > low, high - low, 1)).std(-1, ddof=1)
    return jnp.moveaxis(jax.nn.softmax(spread_bmlk, axis=2), 3, 1)
