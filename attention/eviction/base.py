"""What evictions share: a policy, when it acts, and that schedule as numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from attention.backends.registry import counted_as
from attention.cost import Cost, Heads
from attention.eviction.policy import Policy
from attention.eviction.registry import POLICIES
from attention.pattern import Array, SpanPattern
from attention.unknown import unknown
from attention.variant import Variant


class Piece(NamedTuple):
    """Tokens of a step that no event divides; integers, or arrays for a scan.

    Attributes:
        length: tokens of the sequence before it.
        place: the slot of its first token.
        first: the first slot that holds a key, all later ones up to `place` do.
        opens: whether a chunk starts here.
        event: whether keys go after it.
    """

    length: Any
    place: Any
    first: Any
    opens: Any
    event: Any


class Eviction(Variant):
    """Base of both: a policy and its parameters, and when it acts.  `length` is tokens so far, before a piece."""

    policy: str
    budget: int
    sinks: int
    recent: int | None
    seed: int
    layer: ClassVar[int] = 0
    n_layers: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"{self.name}: {unknown('eviction policy', self.policy, POLICIES)}")
        for field, least in (("budget", 1), ("sinks", 0), ("recent", POLICIES[self.policy].least_recent)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise ValueError(f"{self.name}({self.policy}): {field} must be at least {least}, got {value}")
        if self.seed and self.policy != "random":
            raise ValueError(f"{self.name}({self.policy}): only the policy random has a seed, got seed={self.seed}")
        rule = self.rule
        if rule.reserved > self.budget:
            raise ValueError(
                f"{self.name}({self.policy}): budget {self.budget} is below the {rule.reserved} keys that always stay "
                f"(sinks {rule.sinks}, recent {rule.recent})"
            )

    @property
    def rule(self) -> Policy:
        """The policy with its parameters."""
        policy = POLICIES[self.policy]
        recent = policy.default_recent(self.budget) if self.recent is None else self.recent
        return policy(self.budget, self.sinks, recent, self.seed)

    def pattern(self) -> SpanPattern:
        """Full causal attention, over the keys that are still held."""
        return SpanPattern()

    def slots(self, capacity_tokens: int) -> int:
        """Slots for sequences of up to so many tokens."""
        raise NotImplementedError

    def may_evict(self, slots: int) -> bool:
        """Whether a layer of so many slots can ever have to let a key go."""
        return slots > self.rule.least_budget

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

    def piece(self, length: Array, tokens: int, budget: Array, xp: ModuleType = np) -> Piece:
        """The piece of so many tokens after `length` others, in a layer of that budget."""
        raise NotImplementedError

    def valid(self, piece: Piece, tokens: int, slot_s: Array, pos_bks: Array) -> Array:
        """Which slots hold a key once the piece's tokens are in, [B or 1, K or 1, S]."""
        if self.rule.per_head:
            return pos_bks >= 0
        return ((slot_s >= piece.first) & (slot_s < piece.place + tokens))[None, None]

    def keys_in_order(self, first: bool, n_layers: int) -> bool:
        """Whether what is held fills the first slots without a gap, in each of so many layers; `first`: in a step that
        nothing went before."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------------------------------- the cost

    @property
    def layer_budget(self) -> int:
        """Keys per key-value head that an event leaves; of the whole model, or of one layer (`at_layer`)."""
        return self.rule.layer_budgets(self.n_layers)[self.layer]

    def schedule(self, start: int, tokens: int) -> tuple[tuple[int, Piece], ...]:
        """A step as the pieces (tokens, Piece) that `attend_in_chunks` runs."""
        self.check_step(start, tokens)
        size = self.piece_tokens(tokens)
        parts = [min(size, tokens - done) for done in range(0, tokens, size)]
        pieces = (self.piece(start + i * size, part, self.layer_budget) for i, part in enumerate(parts))
        return tuple((part, Piece(*map(int, piece))) for part, piece in zip(parts, pieces, strict=True))

    def useful_pairs(self, tokens: int, start: int = 0) -> int:
        """Visible (query, key) pairs of one query head; with per-head budgets, of the mean head."""
        raise NotImplementedError

    def useful(self, heads: Heads, tokens: int, start: int = 0) -> Cost:
        """Pairs in closed form; selection over the keys that are held."""
        return Cost(heads.n_heads * self.useful_pairs(tokens, start), self._useful_selection(heads, tokens, start))

    def _useful_selection(self, heads: Heads, tokens: int, start: int) -> int:
        """Of the keys that are held; once the budget is reached, every chunk costs the same."""
        size = self.piece_tokens(tokens)
        settled = (self.layer_budget // size + 2) * size
        if start == 0 and tokens > settled + size:
            chunks, rest = divmod(tokens - settled, size)
            total = self._useful_selection(heads, settled, 0) + chunks * self._useful_selection(heads, size, settled)
            return total + (self._useful_selection(heads, rest, settled) if rest else 0)
        pieces = self.schedule(start, tokens)
        return sum(self._selection(heads, part, piece, piece.place - piece.first + part) for part, piece in pieces)

    def executed(self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto") -> Cost:
        """Exact; with per-head budgets, whose walks depend on the scores, as if every head had all that it may keep."""
        slots = self.slots(capacity or start + tokens)
        total = Cost(0, 0)
        alike = Counter((part, piece._replace(length=0, opens=0)) for part, piece in self.schedule(start, tokens))
        for (part, piece), times in alike.items():
            q_slot_t, kv_slot_s = self.slot_positions(piece, part, slots, self.layer_budget)
            backend = counted_as(impl, part, slots)
            pairs = backend.executed_pairs(self.pattern(), heads.n_heads, heads.n_kv_heads, q_slot_t, kv_slot_s)
            total = Cost(
                total.pairs + times * pairs, total.selection_flops + times * self._selection(heads, part, piece, slots)
            )
        return total

    @property
    def knows_its_slots(self) -> bool:
        """Whether `piece` alone says which slots hold keys; else what scores chose does."""
        return not self.rule.per_head

    def slot_positions(
        self, piece: Piece, tokens: int, slots: int, budget: Array, xp: ModuleType = np
    ) -> tuple[Array, Array]:
        """What `attend_in_chunks` gives to `attend` for positions: of T queries and of S slots.

        Where scores choose what is held, what counts take for it: as if every head held all that it may keep.
        """
        slot_s, end = xp.arange(slots, dtype=xp.int32), piece.place + tokens
        first = 0 if self.rule.per_head else piece.first
        q_slot_t = piece.place + xp.arange(tokens, dtype=xp.int32)
        return q_slot_t, xp.where((slot_s >= first) & (slot_s < end), slot_s, -1)

    def cache_tokens(self, capacity_tokens: int) -> int:
        return self.slots(capacity_tokens)

    def _selection(self, heads: Heads, tokens: int, piece: Piece, keys: int) -> int:
        rule = self.rule
        return rule.observe_flops(heads, keys, tokens) + piece.event * rule.score_flops(heads, keys)


def in_layer(variant: Eviction, kind: type[Eviction], layer: int, n_layers: int) -> Eviction:
    """The variant as layer number `layer` counts it: of `kind`, which knows its layer, where budgets differ."""
    if len(set(variant.rule.layer_budgets(n_layers))) == 1:
        return variant
    fields = {f.name: getattr(variant, f.name) for f in dataclasses.fields(variant)}
    return kind(**fields | {"layer": layer, "n_layers": n_layers})
