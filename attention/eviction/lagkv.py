"""Tokens that differ from what follows them (LagKV: Liang et al., 2504.04704)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from attention.eviction.policy import Held, Policy, State


class LagKV(Policy):
    """Partitions of `recent` held tokens after the sinks; each is scaled by the range of the next one.

        score(x) = softmax over the partition of std over channels of (x - min_next) / (max_next - min_next)

    per channel, mean of the score of keys and that of values, then its rank in the partition: every partition gives
    up equally many.  The last whole partition, and what comes after it, stays; with less than two, newer is better.
    """

    name = "lagkv"
    least_recent = 2  # one token has no range

    @classmethod
    def default_recent(cls, budget: int) -> int:
        return 128

    @property
    def reserved(self) -> int:
        return self.sinks + 2 * self.recent - 1

    def score(self, state: State, held: Held) -> jax.Array:
        slots, lag = held.slot_s.size, self.recent
        newer_s = held.slot_s.astype(jnp.float32)
        parts = (slots - self.sinks) // lag
        if parts < 2:
            return newer_s
        area = slice(self.sinks, self.sinks + parts * lag)
        both_bkml = sum(self._relative(x[:, area], parts) for x in (held.keys_bskh, held.values_bskh)) / 2
        rank_bks = both_bkml.argsort().argsort().reshape(*both_bkml.shape[:2], -1) / lag
        rank_bks = jnp.pad(rank_bks, [(0, 0), (0, 0), (self.sinks, slots - area.stop)])
        return jnp.where(held.end < self.sinks + 2 * lag, newer_s, rank_bks)

    def always(self, held: Held) -> jax.Array:
        parts = (held.end - self.sinks) // self.recent
        tail = jnp.where(parts < 2, held.end, self.sinks + (parts - 1) * self.recent)
        return (held.pos_bks < self.sinks) | (held.slot_s >= tail)

    def _relative(self, x_bskh: jax.Array, parts: int) -> jax.Array:
        """[B, K, M, L] for M partitions of L tokens; the last one's says nothing, for nothing follows it."""
        b, _, k, h = x_bskh.shape
        x_bmlkh = x_bskh.astype(jnp.float32).reshape(b, parts, self.recent, k, h)
        following = jnp.roll(x_bmlkh, -1, axis=1)
        low, high = following.min(2, keepdims=True), following.max(2, keepdims=True)
        spread_bmlk = ((x_bmlkh - low) / jnp.where(high > low, high - low, 1)).std(-1, ddof=1)
        return jnp.moveaxis(jax.nn.softmax(spread_bmlk, axis=2), 3, 1)
