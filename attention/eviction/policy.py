"""What an eviction policy is: a score per held key, and the state that the score needs.

A layer holds keys in slots, in position order.  At an event each held key gets a score; the highest stay.  Equal scores
(and equal ranks) are settled the same way everywhere: the older key stays.

Axes: B batch, T queries, S slots, N query heads, K key-value heads, G = N/K, H head size, P slots that may stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from attention.cost import Depth, Heads
from attention.kernels.first_best import first_best
from attention.parameters import Part


class Retention(NamedTuple):
    """How many keys an eviction leaves, per key-value head.

    Attributes:
        budget: keys that an event leaves; policies may share them out over layers and heads.
        sinks: first tokens of the sequence that always stay.
        recent: newest tokens that always stay.
    """

    budget: int
    sinks: int
    recent: int


class State(NamedTuple):
    """What a policy remembers.

    Attributes:
        by_slot: a pytree of [B, K, S, ...], which travels with the keys when an event moves them.
        running: a pytree of anything else.
    """

    by_slot: Any = ()
    running: Any = ()


class CacheShape(NamedTuple):
    """Sizes that a state is made for."""

    batch: int
    slots: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    retention: Retention


class Queries(NamedTuple):
    """The queries of one piece of a step, after they attended.

    Attributes:
        q_btnh: rotary positions applied.
        slot_t, pos_t: where they stand among the slots, and in the sequence.
        lse_bnt: log of the sum of exp(scaled score) over the keys each one saw; None unless the policy needs it.
        opens_chunk: whether no query came before them since the last multiple of the chunk.
    """

    q_btnh: jax.Array
    slot_t: jax.Array
    pos_t: jax.Array
    lse_bnt: jax.Array | None
    opens_chunk: jax.Array


class CachedKeys(NamedTuple):
    """What the layer holds, to be scored: the keys kept so far, then those since the last event.

    Attributes:
        keys_bskh, values_bskh: as attention reads them.
        pos_bks: position of each slot, -1 where it is empty.
        valid_bks: where a key is, [B or 1, K or 1, S].
        slot_s: 0..S-1.
        end: the slot after the newest token's.
        length: tokens of the sequence so far.
        layer: index of the layer.
        rope_theta: base of the rotary positions that were applied; None where unknown.
        retention: how many of them are to stay.
    """

    keys_bskh: jax.Array
    values_bskh: jax.Array
    pos_bks: jax.Array
    valid_bks: jax.Array
    slot_s: jax.Array
    end: jax.Array
    length: jax.Array
    layer: jax.Array
    rope_theta: float | None
    retention: Retention


@dataclass(frozen=True)
class Policy(Part):
    """Base: a subclass has a `name`, a `score` and, where it needs one, a state.

    One with parameters is a frozen dataclass, and they are its own (a seed): what an eviction tells all of them, a
    `Retention`, comes as an argument.
    """

    needs_lse: ClassVar[bool] = False
    needs_rope: ClassVar[bool] = False
    per_head: ClassVar[bool] = False
    """Whether heads (and rows) may keep different numbers of keys."""
    least_recent: ClassVar[int] = 0

    def score(self, state: State, cached: CachedKeys) -> jax.Array:
        """[B, K, S] or what broadcasts to it; what it says of sinks, recent keys and empty slots is not read."""
        raise NotImplementedError

    def default_recent(self, budget: int) -> int:
        """Newest tokens that always stay if nobody says how many: as published."""
        return 0

    def reserved(self, retention: Retention) -> int:
        """Most keys that always stay."""
        return retention.sinks + retention.recent

    def window(self, retention: Retention) -> int:
        """Newest queries that the score reads, all of one chunk."""
        return 0

    def init_state(self, shape: CacheShape, dtype: jax.typing.DTypeLike) -> State:
        return State()

    def observe(self, state: State, queries: Queries, cached: CachedKeys) -> State:
        """The state after a piece of a step; an event, if there is one, comes after this."""
        return state

    def always(self, cached: CachedKeys) -> jax.Array:
        """True for the keys that stay whatever their score, [B, K, S] or what broadcasts to it."""
        first_recent = cached.length - cached.retention.recent
        return (cached.pos_bks < cached.retention.sinks) | (cached.pos_bks >= first_recent)

    def layer_budget(self, retention: Retention, depth: Depth, prompt: Any = None) -> Any:
        """Keys per key-value head that a layer keeps; of a `prompt` of so many tokens where one event chooses of it.

        An int, or an int32 scalar where the layer's number or the prompt is one.
        """
        return retention.budget

    def budget_steps(self, n_layers: int) -> int:
        """When the budget rises by so many keys, those of each layer rise in proportion, without rounding."""
        return 1

    def least_budget(self, retention: Retention) -> int:
        """No layer evicts while it holds no more keys than this."""
        return retention.budget

    def most_kept(self, retention: Retention) -> int:
        """Most keys that an event may leave in any head of any layer."""
        return retention.budget

    def retained(self, score_bks: jax.Array, retention: Retention, layer_budget: Any, most: int) -> jax.Array:
        """Slots that stay in a layer of that budget, [B, K, most], in no order; -1 where fewer stay."""
        _, slots_bkp = first_best(score_bks, most)
        return jnp.where(jnp.arange(most) < layer_budget, slots_bkp, -1)

    def score_flops(self, heads: Heads, keys: int, retention: Retention) -> int:
        """Of the products in one `score` of so many slots, per row."""
        return 0

    def observe_flops(self, heads: Heads, keys: int, queries: int) -> int:
        """Of the products in one `observe` of so many slots and queries, per row."""
        return 0

    def useful_score_flops(self, heads: Heads, keys: int, retention: Retention) -> int:
        """Of those that the definition asks for, per row.  Here: all, of as many slots as there are keys."""
        return self.score_flops(heads, keys, retention)

    def useful_observe_flops(self, heads: Heads, queries: int, pairs: int) -> int:
        """Of those that the definition asks for, of queries that see so many keys in all heads together, per row.

        As much for many queries as for all their parts.  Here: those of `observe_flops` that are with keys, for each
        visible pair, and the others.
        """
        of_a_pair = self.observe_flops(heads, 1, 1) - self.observe_flops(heads, 0, 1)
        return self.observe_flops(heads, 0, queries) + of_a_pair * pairs // heads.n_heads


def grouped(x_btnh: jax.Array, n_kv_heads: int) -> jax.Array:
    """[B, T, N, H] as [B, T, K, G, H]: query head n reads key-value head n // G."""
    return x_btnh.reshape(*x_btnh.shape[:2], n_kv_heads, -1, x_btnh.shape[-1])


def product(subscripts: str, *operands: jax.Array) -> jax.Array:
    """einsum in float32 on every platform: in tf32 or bfloat16 other keys would stay."""
    return jnp.einsum(
        subscripts, *(x.astype(jnp.float32) for x in operands), precision="highest", preferred_element_type=jnp.float32
    )
