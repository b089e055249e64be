"""KV eviction: a layer that keeps a bounded number of keys, and its schedule as numbers.

budget=2, chunk=2, a policy that liked keys 0 and 3 (`k` kept, `x` of the query's own chunk):

    key   0 1 2 3 4 5 6 7
    q 0   x
    q 1   x x
    q 2   k k x
    q 3   k k x x      event: 0 and 3 stay
    q 4   k     k x
    q 5   k     k x x
"""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from attention.attend import resolve_impl
from attention.cost import Cost, Heads
from attention.eviction.policy import Policy
from attention.eviction.registry import POLICIES
from attention.kernels.cover import executed_pairs
from attention.pattern import Array, SpanPattern
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
            close = difflib.get_close_matches(self.policy, POLICIES, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"{self.name}: no eviction policy {self.policy!r}{hint}; accepted: {', '.join(POLICIES)}")
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

    def events(self, tokens: int, start: int = 0) -> int:
        """How often keys go in a step of so many tokens after `start` others."""
        return sum(piece.event for _, piece in self.schedule(start, tokens))

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
            q_slot_t, kv_slot_s = self.slot_positions(piece, part, slots)
            if resolve_impl(impl, part, slots) == "dense":
                pairs = heads.n_heads * part * slots
            else:
                pairs = executed_pairs(self.pattern(), heads.n_heads, heads.n_kv_heads, q_slot_t, kv_slot_s)
            total = Cost(
                total.pairs + times * pairs, total.selection_flops + times * self._selection(heads, part, piece, slots)
            )
        return total

    def slot_positions(self, piece: Piece, tokens: int, slots: int) -> tuple[np.ndarray, np.ndarray]:
        """What `attend_in_chunks` gives to `attend` for positions: of T queries and of S slots."""
        slot_s, end = np.arange(slots, dtype=np.int32), piece.place + tokens
        first = 0 if self.rule.per_head else piece.first
        return np.arange(piece.place, end, dtype=np.int32), np.where((slot_s >= first) & (slot_s < end), slot_s, -1)

    def cache_tokens(self, capacity_tokens: int) -> int:
        return self.slots(capacity_tokens)

    def _selection(self, heads: Heads, tokens: int, piece: Piece, keys: int) -> int:
        rule = self.rule
        return rule.observe_flops(heads, keys, tokens) + piece.event * rule.score_flops(heads, keys)


@dataclass(frozen=True)
class Evict(Eviction):
    """`evict(policy, budget=4096, chunk=1024, sinks=4, recent=None)`: eviction during prefill, and in decode.

    Queries see the kept keys and the tokens since the last event, up to their own.  Whenever the sequence's length
    reaches a multiple of `chunk`, and more than `budget` keys are held, every held key gets a score and the best
    `budget` per key-value head stay, at their original positions.  So a prompt in one step, in steps that end at
    multiples of `chunk` or inside one, and in decode steps is the same function.  `sinks` first and `recent` newest
    tokens always stay (None: as the policy was published).
    """

    name = "evict"
    example = "evict(knorm, budget=8, chunk=4, sinks=2)"

    policy: str
    budget: int = 4096
    chunk: int = 1024
    sinks: int = 4
    recent: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"evict: chunk must be at least 1 token, got {self.chunk}")
        super().__post_init__()
        if self.rule.window > self.chunk:
            raise ValueError(
                f"evict({self.policy}): the score reads the newest {self.rule.window} queries, more than a chunk of "
                f"{self.chunk}"
            )

    def slots(self, capacity_tokens: int) -> int:
        """B + C; only the capacity where no event can come before it is reached."""
        never = capacity_tokens // self.chunk * self.chunk <= self.rule.least_budget
        return capacity_tokens if never else self.rule.most_kept + self.chunk

    def piece_tokens(self, step_tokens: int) -> int:
        return self.chunk

    def fits(self, length: Array, tokens: int) -> Array:
        """A step that starts inside a chunk ends in it."""
        return (length % self.chunk == 0) | (length % self.chunk + tokens <= self.chunk)

    def check_step(self, length: int, tokens: int) -> None:
        if not self.fits(length, tokens):
            raise ValueError(
                f"evict: a step that starts inside a chunk must end in it: {tokens} tokens after {length}, with "
                f"chunk={self.chunk}"
            )

    def check_prompt(self, tokens: int) -> None:
        if self.chunk > tokens:
            raise ValueError(
                f"evict: a chunk of {self.chunk} tokens is larger than the prompt of {tokens}: nothing would be evicted"
            )

    def piece(self, length: Array, tokens: int, budget: Array, xp: ModuleType = np) -> Piece:
        most = self.rule.most_kept
        chunk_start, after = length // self.chunk * self.chunk, length + tokens
        full = chunk_start > budget  # some key went already
        return Piece(
            length,
            xp.where(full, most, chunk_start) + length % self.chunk,
            xp.where(full, most - budget, 0),
            length == chunk_start,
            (after % self.chunk == 0) & (after > budget),
        )

    def held_keys(self, length: int) -> int:
        """Keys per key-value head after so many tokens; with per-head budgets, of the mean head."""
        return min(length // self.chunk * self.chunk, self.layer_budget) + length % self.chunk

    def events(self, tokens: int, start: int = 0) -> int:
        """Multiples of the chunk in (start, start + tokens] that are larger than the budget."""
        before = max(start, self.layer_budget) // self.chunk
        return max(0, (start + tokens) // self.chunk - before)

    def useful_pairs(self, tokens: int, start: int = 0) -> int:
        """N(C + 1)/2 + B·N - B(B + C)/2 for start = 0 and N and B multiples of C; exact for any."""
        budget, c = self.layer_budget, self.chunk

        def up_to(n: int) -> int:
            chunks, rest = divmod(n, c)
            growing = min(chunks, budget // c + 1)  # chunks that find i·C kept, not yet B
            kept = c * c * growing * (growing - 1) // 2 + c * budget * (chunks - growing)
            own = chunks * c * (c + 1) // 2 + rest * (rest + 1) // 2
            return kept + own + rest * min(chunks * c, budget)

        return up_to(start + tokens) - up_to(start)

    def limiting_flops(self, heads: Heads) -> Fraction | None:
        """The mean over a chunk: B + (C + 1)/2 keys per head, and its selection."""
        far = max(self.layer_budget // self.chunk + 2, 2) * self.chunk
        return Fraction(self.useful(heads, self.chunk, far).flops(heads), self.chunk)

    def at_layer(self, layer: int, n_layers: int) -> Evict:
        return _at_layer(self, EvictInLayer, layer, n_layers)


@dataclass(frozen=True)
class EvictAfter(Eviction):
    """`evict_after(policy, budget=4096, sinks=4, recent=None)`: the published form, eviction once after the prompt.

    The first step is the prompt, whole: its queries see all that is before them.  Then, if it was longer than
    `budget`, the policy chooses once what stays.  Later steps see that and each other, and nothing goes any more.
    Prefill costs what full attention costs; the cache has a slot per token, so this form is for comparing choices.
    """

    name = "evict_after"
    example = "evict_after(h2o, budget=16)"

    policy: str
    budget: int = 4096
    sinks: int = 4
    recent: int | None = None
    seed: int = 0

    def check_steps(self, steps: Iterable[tuple[int, int]]) -> None:
        first, *later = steps
        if first[0] == 0 and later and later[0][1] > 1:
            raise ValueError(f"evict_after: the prompt comes in one step, got {1 + len(later)}; evict takes chunks")

    def slots(self, capacity_tokens: int) -> int:
        return capacity_tokens

    def piece_tokens(self, step_tokens: int) -> int:
        return step_tokens

    def fits(self, length: Array, tokens: int) -> Array:
        return np.bool_(True)

    def piece(self, length: Array, tokens: int, budget: Array, xp: ModuleType = np) -> Piece:
        return Piece(length, length, 0 * length, length == 0, (length == 0) & (tokens > budget))

    def valid(self, piece: Piece, tokens: int, slot_s: Array, pos_bks: Array) -> Array:
        """How long the prompt was is in the positions only."""
        return pos_bks >= 0 if self.rule.per_head else pos_bks[:1, :1] >= 0

    def slot_positions(self, piece: Piece, tokens: int, slots: int) -> tuple[np.ndarray, np.ndarray]:
        """Later steps: as if the prompt was of `piece.place` tokens."""
        q_slot_t, kv_slot_s = super().slot_positions(piece, tokens, slots)
        if piece.place > self.layer_budget:
            most = min(self.rule.most_kept, slots)
            first = 0 if self.rule.per_head else most - self.layer_budget
            kv_slot_s = np.where((kv_slot_s < first) | ((kv_slot_s >= most) & (kv_slot_s < piece.place)), -1, kv_slot_s)
        return q_slot_t, kv_slot_s

    def useful_pairs(self, tokens: int, start: int = 0) -> int:
        """N(N + 1)/2 for start = 0; later steps: as if the prompt was of `start` tokens."""
        return tokens * min(start, self.layer_budget) + tokens * (tokens + 1) // 2

    def limiting_flops(self, heads: Heads) -> Fraction | None:
        return None

    def at_layer(self, layer: int, n_layers: int) -> EvictAfter:
        return _at_layer(self, EvictAfterInLayer, layer, n_layers)


@dataclass(frozen=True)
class EvictInLayer(Evict):
    """`Evict` as one layer counts it, where budgets differ from layer to layer."""

    layer: int = 0
    n_layers: int = 1


@dataclass(frozen=True)
class EvictAfterInLayer(EvictAfter):
    """`EvictAfter` as one layer counts it, where budgets differ from layer to layer."""

    layer: int = 0
    n_layers: int = 1


def _at_layer(variant: Eviction, in_layer: type[Eviction], layer: int, n_layers: int) -> Eviction:
    if len(set(variant.rule.layer_budgets(n_layers))) == 1:
        return variant
    fields = {f.name: getattr(variant, f.name) for f in dataclasses.fields(variant)}
    return in_layer(**fields | {"layer": layer, "n_layers": n_layers})
