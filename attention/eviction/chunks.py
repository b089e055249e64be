"""Attention over what an eviction keeps: one loop for one-shot prefill, chunked prefill and decode."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from attention.assumption import assumed_in_counts
from attention.attended import Attended, AttendFn, concatenated
from attention.cost import Depth
from attention.eviction.base import Eviction
from attention.eviction.cache import EvictingCache, append, compact
from attention.eviction.policy import CachedKeys, Queries
from attention.mixer import MixerInput, StepContext
from attention.pattern import SpanPattern


class EvictionInChunks(Eviction):
    """An eviction that runs: its schedule says which pieces a step falls into."""

    def mix(self, inputs: MixerInput, now: StepContext, state: EvictingCache) -> tuple[Attended, EvictingCache]:
        in_order = self.keys_in_order(now.first, now.depth.n_layers)
        attend = partial(now.attend, order="keys") if in_order else now.attend
        return attend_in_chunks(
            self, attend, state, inputs.q_btnh, inputs.k_btkh, inputs.v_btkh, now.q_pos_bt, now.length, now.depth,
            now.rope_theta,
        )  # fmt: skip


def attend_in_chunks(
    eviction: Eviction,
    attend: AttendFn,
    cache: EvictingCache,
    q_btnh: jax.Array,
    k_btkh: jax.Array,
    v_btkh: jax.Array,
    q_pos_bt: jax.Array,
    length: jax.Array | int,
    depth: Depth,
    rope_theta: float | None = None,
) -> tuple[Attended, EvictingCache]:
    """A step of T tokens after `length` others: their attention, what ran for it, and what is kept for later ones.

    Queries see [kept, tokens since the last event, causal].  The step runs as a scan over its whole chunks, then what
    is left; each piece may end in an event.  `attend` gets slots for positions, the same for all heads, so that heads
    share one walk and its cost is known from `length` alone (with per-head budgets: one walk a head).

    Args:
        attend: `attention.attend.attend`, or a function with its signature.
        q_btnh, k_btkh, v_btkh: rotary positions applied, at positions of the sequence.
        q_pos_bt: length, length + 1, ..., [1, T]: rows share their length, and nothing is padding.
        length: tokens that went in before; depth: index of this layer, and how many there are.
        rope_theta: base of the rotary positions, for a policy that turns queries back.

    A step that the eviction does not allow (`Eviction.fits`), that does not fit the slots, or whose positions are not
    consecutive puts out NaN: under jit nothing can raise.

    Raises:
        ValueError: such a step, where `length` is known; ragged rows; a policy that lacks `rope_theta`.
    """
    policy, tokens = eviction.policy, q_btnh.shape[1]
    if q_pos_bt.shape != (1, tokens):
        raise ValueError(
            f"eviction needs rows of one length: q_pos must be [1, T] = {(1, tokens)}, got {q_pos_bt.shape}"
        )
    if policy.needs_rope and rope_theta is None:
        raise ValueError(f"{policy.name} turns queries back to position 0 and needs rope_theta, got None")
    if not isinstance(length, jax.core.Tracer):
        eviction.check_step(int(length), tokens)

    prompt = jnp.where(length == 0, tokens, cache.prompt)
    budget = eviction.layer_budget(depth, prompt)
    cache = cache._replace(prompt=prompt)
    run = partial(_piece, eviction, attend, budget, depth.layer, rope_theta)
    fits = eviction.fits(length, tokens) & (q_pos_bt[0] == length + jnp.arange(tokens)).all()
    size = min(eviction.piece_tokens(tokens), tokens)
    n_whole = tokens // size
    slots = cache.positions.shape[-1]
    if size > slots:
        raise ValueError(f"{eviction}: {size} tokens at once do not fit the {slots} slots that were made")

    def pieces_of(start: int, n: int, size: int) -> tuple:
        """n pieces of that size, from token `start` of the step on: what each is, and its q, k and v, n in front."""
        pieces = eviction.piece(length + start + size * jnp.arange(n, dtype=jnp.int32), size, budget, prompt, jnp)
        parts = (x[:, start : start + n * size] for x in (q_btnh, k_btkh, v_btkh))
        return pieces, *(jnp.moveaxis(x.reshape(x.shape[0], n, size, *x.shape[2:]), 1, 0) for x in parts)

    parts = []
    for start, n, part in ((0, n_whole, size), (n_whole * size, 1, tokens - n_whole * size)):
        if not part:
            continue
        operands = pieces_of(start, n, part)
        fits &= (operands[0].place + part <= slots).all()
        if n > 1:
            cache, turns = lax.scan(run, cache, operands)
            parts.append(turns.unstacked())
        else:
            cache, attended = run(cache, jax.tree.map(lambda x: x[0], operands))
            parts.append(attended)
    # What is kept is spoilt too: a later step that fits must not look sound.
    values = jnp.where(fits, cache.values, jnp.nan)
    attended = concatenated(parts)
    out_btnh = jnp.where(fits, attended.out_btnh, jnp.nan)
    return replace(attended, out_btnh=out_btnh), cache._replace(values=values)


def _piece(
    eviction: Eviction, attend: AttendFn, budget: Any, layer: Any, rope_theta: float | None, cache: EvictingCache,
    operands: tuple,
) -> tuple[EvictingCache, Attended]:  # fmt: skip
    """Tokens that no event divides: append, attend, observe, and the event after them if there is one."""
    piece, q_btnh, k_btkh, v_btkh = operands
    policy, tokens, slots = eviction.policy, q_btnh.shape[1], cache.positions.shape[-1]
    pos_t = piece.length + jnp.arange(tokens, dtype=jnp.int32)
    slot_s, q_slot_t = jnp.arange(slots, dtype=jnp.int32), piece.place + jnp.arange(tokens, dtype=jnp.int32)
    cache = append(cache, k_btkh, v_btkh, pos_t, piece.place)
    end = piece.place + tokens
    valid_bks = eviction.valid(piece, tokens, slot_s, cache.positions)

    slot_bks = jnp.where(valid_bks, slot_s, -1)
    if not eviction.knows_its_slots:
        _, assumed_s = eviction.slot_positions(piece, tokens, slots, jnp)
        slot_bks = assumed_in_counts(slot_bks, jnp.broadcast_to(assumed_s, slot_bks.shape))
    see = partial(attend, q_btnh, cache.keys, cache.values, q_slot_t[None], slot_bks)
    attended = see(SpanPattern(), need_lse=policy.needs_lse)

    with jax.named_scope("selection"):
        cached = CachedKeys(
            cache.keys, cache.values, cache.positions, valid_bks, slot_s, end, pos_t[-1] + 1, layer, rope_theta,
            eviction.retention,
        )  # fmt: skip
        queries = Queries(q_btnh, q_slot_t, pos_t, attended.lse_bnt, piece.opens)

        def observe(cache: EvictingCache) -> EvictingCache:
            return cache._replace(state=policy.observe(cache.state, queries, cached))

        if eviction.observes_every_piece:
            cache = observe(cache)
        if not eviction.may_evict(tokens, slots):
            return cache, attended

        def event(cache: EvictingCache) -> EvictingCache:
            cache = cache if eviction.observes_every_piece else observe(cache)
            score_bks = jnp.where(policy.always(cached), jnp.inf, policy.score(cache.state, cached))
            score_bks = jnp.broadcast_to(jnp.where(valid_bks, score_bks, -jnp.inf), cached.pos_bks.shape)
            most, end_slot = eviction.event_slots(tokens, slots)
            return compact(cache, policy.retained(score_bks, eviction.retention, budget, most), end_slot)

        return lax.cond(piece.event, event, lambda cache: cache, cache), attended
