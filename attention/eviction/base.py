"""What evictions share: a policy, when it acts, and that schedule as numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from types import ModuleType
from typing import Any, ClassVar, Self

import jax
import numpy as np

from attention.cost import ONLY_LAYER, Cost, Depth, Heads, executed_pairs
from attention.eviction.cache import EvictingCache, init_evicting_cache
from attention.eviction.piece import Piece
from attention.eviction.policy import CacheShape, Policy, Retention
from attention.eviction.share import FAR_TOKENS, keys_of, read_budget
from attention.mixer import Mixer
from attention.parameters import Budget
from attention.pattern import Array, SpanPattern


class Eviction(Mixer):
    """Base of both: a policy, what it is to keep, and when it acts.  `length` is tokens so far, before a piece."""

    policy: Policy
    budget: Budget
    sinks: int
    recent: int | None

    takes_sink_logits: ClassVar[bool] = True
    observes_every_piece: ClassVar[bool] = True
    """Whether an event's score may need what the policy saw of earlier pieces; else only the event's piece is seen."""

    def __post_init__(self) -> None:
        if not isinstance(self.policy, Policy):
            raise ValueError(
                f"{self.name}: policy is a policy such as Knorm(), got {self.policy!r}; "
                f"attention.make({self.name!r}, policy=...) takes its name"
            )
        called = f"{self.name}({self.policy.name})"
        object.__setattr__(self, "budget", read_budget(called, self.budget))
        for field, least in (("sinks", 0), ("recent", self.policy.least_recent)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise ValueError(f"{called}: {field} must be at least {least}, got {value}")
        if self.share:
            self.at_length(1)  # refuses what no prompt makes right
        elif self.policy.reserved(self.retention) > self.budget:
            raise ValueError(
                f"{called}: budget {self.budget} is below the {self.policy.reserved(self.retention)} keys that always "
                f"stay (sinks {self.sinks}, recent {self.retention.recent})"
            )

    @property
    def share(self) -> Fraction | None:
        """What is kept of a prompt, where the budget says that; see `attention.eviction.share`."""
        return self.budget if isinstance(self.budget, Fraction) else None

    def at_length(self, total_tokens: int) -> Self:
        """A share is one of a prompt of so many tokens, and becomes keys."""
        if self.share is None:
            return self
        keys = keys_of(self.share, total_tokens, lambda keys: self.policy.reserved(self._told(keys)))
        return dataclasses.replace(self, budget=keys)  # type: ignore[call-arg]  # a field of both subclasses

    def after_prompt(self, prompt_tokens: int) -> Self:
        return self.at_length(prompt_tokens)

    @property
    def retention(self) -> Retention:
        """What the policy is told.  Raises `ValueError` where the budget is a share, and no prompt is known."""
        if not isinstance(self.budget, int):
            raise ValueError(
                f"{self} keeps a share of the prompt, whose length is not known: take it `at_length(prompt_tokens)` "
                "first, or the model's config `at_length(capacity_tokens, prompt_tokens)`"
            )
        return self._told(self.budget)

    def _told(self, keys: int) -> Retention:
        recent = self.policy.default_recent(keys) if self.recent is None else self.recent
        return Retention(keys, self.sinks, recent)

    @property
    def most_kept(self) -> int:
        """Most keys that an event may leave in any head of any layer."""
        return self.policy.most_kept(self.retention)

    @property
    def least_budget(self) -> int:
        """No layer evicts while it holds no more keys than this."""
        return self.policy.least_budget(self.retention)

    def layer_budgets(self, n_layers: int) -> tuple[int, ...]:
        """Keys per key-value head that an event leaves in each of so many layers."""
        return tuple(self.layer_budget(Depth(layer, n_layers)) for layer in range(n_layers))

    def layer_budget(self, depth: Depth = ONLY_LAYER, prompt: Any = None) -> Any:
        """The same in one layer, of a prompt of so many tokens where that matters: an int, or an int32 scalar where
        what it depends on is one."""
        return self.policy.layer_budget(self.retention, depth)

    def differs_by_depth(self, n_layers: int) -> bool:
        return len(set(self.at_length(FAR_TOKENS).layer_budgets(n_layers))) > 1

    def cache_tokens(self, capacity_tokens: int) -> int:
        """Slots for sequences of up to so many tokens."""
        raise NotImplementedError

    def init_state(
        self, heads: Heads, batch: int, capacity_tokens: int, dtype: jax.typing.DTypeLike, *, ragged: bool = False
    ) -> EvictingCache:
        if ragged:
            raise ValueError(f"{self} evicts by the rows' common length: rows of different lengths need others")
        shape = CacheShape(
            batch, self.cache_tokens(capacity_tokens), heads.n_heads, heads.n_kv_heads, heads.head_dim, self.retention
        )
        return init_evicting_cache(shape, self.policy, dtype)

    def most_tokens(self, state: EvictingCache) -> int | None:
        """Its slots where no event ever makes room among them."""
        slots = state.positions.shape[-1]
        return slots if self.cache_tokens(slots + 1) > slots else None

    def state_bytes(self, state: EvictingCache) -> int:
        """Of keys and values."""
        return state.keys.nbytes + state.values.nbytes

    def may_evict(self, tokens: int, slots: int) -> bool:
        """Whether a piece of so many tokens, in a layer of so many slots, can ever have to let a key go."""
        return slots > self.least_budget

    def event_slots(self, tokens: int, slots: int) -> tuple[int, int]:
        """Most keys of a head that an event after so many new tokens leaves, and the slot that they end before."""
        raise NotImplementedError

    def piece_tokens(self, step_tokens: int) -> int:
        """Most tokens of a step that attend at once."""
        raise NotImplementedError

    def fits(self, length: Array, tokens: int) -> Array:
        """Whether a step of so many tokens is allowed after `length` others."""
        raise NotImplementedError

    def check_step(self, length: int, tokens: int) -> None:
        """Raises what `fits` says no to."""

    def check_steps(self, steps: Iterable[tuple[int, int]]) -> None:
        for length, tokens in steps:
            self.check_step(length, tokens)

    def piece(self, length: Array, tokens: int, budget: Array, prompt: Array, xp: ModuleType = np) -> Piece:
        """The piece of so many tokens after `length` others, in a layer of that budget; the first step had `prompt`."""
        raise NotImplementedError

    def valid(self, piece: Piece, tokens: int, slot_s: Array, pos_bks: Array) -> Array:
        """Which slots hold a key once the piece's tokens are in, [B or 1, K or 1, S]."""
        if self.policy.per_head:
            return pos_bks >= 0
        return ((slot_s >= piece.first) & (slot_s < piece.place + tokens))[None, None]

    def keys_in_order(self, first: bool, n_layers: int) -> bool:
        """Whether what is held fills the first slots without a gap, in each of so many layers; `first`: in a step that
        nothing went before."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------------------------- the cost

    def schedule(self, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> tuple[tuple[int, Piece], ...]:
        """A step as the pieces (tokens, Piece) that `attend_in_chunks` runs."""
        self.check_step(start, tokens)
        size = self.piece_tokens(tokens)
        parts = [min(size, tokens - done) for done in range(0, tokens, size)]
        prompt = self.prompt_tokens(tokens, start)
        budget = self.layer_budget(depth, prompt)
        pieces = (self.piece(start + i * size, part, budget, prompt) for i, part in enumerate(parts))
        return tuple((part, Piece(*map(int, piece))) for part, piece in zip(parts, pieces, strict=True))

    def prompt_tokens(self, tokens: int, start: int) -> int:
        """Tokens of the first step, as far as a step of so many tokens at `start` says."""
        return start or tokens

    def held(self, start: int, depth: Depth = ONLY_LAYER) -> int:
        """Keys that a head holds before a step at `start`; with per-head budgets, the mean head."""
        raise NotImplementedError

    def held_tokens(self, start: int, capacity_tokens: int, depth: Depth = ONLY_LAYER) -> int:
        return self.held(start, depth)

    def useful_pairs(self, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> int:
        """Visible (query, key) pairs of one query head; with per-head budgets, of the mean head."""
        raise NotImplementedError

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        """Pairs in closed form; selection is products over those pairs, and scores of the keys that are held."""
        pairs = heads.n_heads * self.useful_pairs(tokens, start, depth)
        return Cost(pairs, self._useful_selection(heads, tokens, start, depth))

    def _useful_selection(self, heads: Heads, tokens: int, start: int, depth: Depth) -> int:
        raise NotImplementedError

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        """Exact; with per-head budgets, whose walks depend on the scores, as if every head had all that it may keep."""
        slots = self.cache_tokens(capacity or start + tokens)
        total = Cost(0, 0)
        alike = Counter(
            (part, piece._replace(length=0, opens=0)) for part, piece in self.schedule(start, tokens, depth)
        )
        for (part, piece), times in alike.items():
            q_slot_t, kv_slot_s = self.slot_positions(piece, part, slots)
            pairs = executed_pairs(SpanPattern(), heads, q_slot_t, kv_slot_s, impl)
            total = Cost(
                total.pairs + times * pairs, total.selection_flops + times * self._selection(heads, part, piece, slots)
            )
        return total

    @property
    def knows_its_slots(self) -> bool:
        """Whether `piece` alone says which slots hold keys; else what scores chose does."""
        return not self.policy.per_head

    def slot_positions(self, piece: Piece, tokens: int, slots: int, xp: ModuleType = np) -> tuple[Array, Array]:
        """What `attend_in_chunks` gives to `attend` for positions: of T queries and of S slots.

        Where scores choose what is held, what counts take for it: as if every head held all that it may keep.
        """
        slot_s, end = xp.arange(slots, dtype=xp.int32), piece.place + tokens
        q_slot_t = piece.place + xp.arange(tokens, dtype=xp.int32)
        return q_slot_t, xp.where((slot_s >= piece.first) & (slot_s < end), slot_s, -1)

    def traced_pieces(self, tokens: int) -> int:
        return -(-tokens // self.piece_tokens(tokens))

    def _selection(self, heads: Heads, tokens: int, piece: Piece, keys: int) -> int:
        observe = self.policy.observe_flops(heads, keys, tokens) if self.observes_every_piece or piece.event else 0
        return observe + piece.event * self.policy.score_flops(heads, keys, self.retention)
