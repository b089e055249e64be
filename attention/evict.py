"""KV eviction during prefill: a layer that keeps a bounded number of keys.

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

import functools
import itertools
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType

import numpy as np

from attention.cost import ONLY_LAYER, Depth, Growth, Heads, sawtooth_ripple
from attention.eviction.base import Piece
from attention.eviction.chunks import EvictionInChunks
from attention.eviction.policy import Policy
from attention.eviction.streaming import Streaming
from attention.outline import Outline, stretch
from attention.pattern import Array


@dataclass(frozen=True)
class Evict(EvictionInChunks):
    """`evict(policy, budget=4096, chunk=1024, sinks=4, recent=None)`: eviction during prefill, and in decode.

    Queries see the kept keys and the tokens since the last event, up to their own.  Whenever the sequence's length
    reaches a multiple of `chunk`, and more than `budget` keys are held, every held key gets a score and the best
    `budget` per key-value head stay, at their original positions.  So a prompt in one step, in steps that end at
    multiples of `chunk` or inside one, and in decode steps is the same function.  `sinks` first and `recent` newest
    tokens always stay (None: as the policy was published).
    """

    name = "evict"
    example = "evict(knorm, budget=8, chunk=4, sinks=2)"

    policy: Policy
    budget: int = 4096
    chunk: int = 1024
    sinks: int = 4
    recent: int | None = None

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"evict: chunk must be at least 1 token, got {self.chunk}")
        super().__post_init__()
        window = self.policy.window(self.retention)
        if window > self.chunk:
            raise ValueError(
                f"evict({self.policy.name}): the score reads the newest {window} queries, more than a chunk of "
                f"{self.chunk}"
            )

    def cache_tokens(self, capacity_tokens: int) -> int:
        """B + C; only the capacity where no event can come before it is reached."""
        never = capacity_tokens // self.chunk * self.chunk <= self.least_budget
        return capacity_tokens if never else self.most_kept + self.chunk

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

    def event_slots(self, tokens: int, slots: int) -> tuple[int, int]:
        most = min(self.most_kept, slots)
        return most, most

    def piece(self, length: Array, tokens: int, budget: Array, prompt: Array, xp: ModuleType = np) -> Piece:
        most, kept = self.most_kept, self.most_kept if self.policy.per_head else budget
        chunk_start, after = length // self.chunk * self.chunk, length + tokens
        full = chunk_start > budget  # some key went already
        return Piece(
            length,
            xp.where(full, most, chunk_start) + length % self.chunk,
            xp.where(full, most - kept, 0),
            length == chunk_start,
            (after % self.chunk == 0) & (after > budget),
        )

    def keys_in_order(self, first: bool, n_layers: int) -> bool:
        """Where all heads of all layers keep as many keys."""
        return not self.policy.per_head and set(self.layer_budgets(n_layers)) == {self.most_kept}

    def held(self, start: int, depth: Depth = ONLY_LAYER) -> int:
        since = start % self.chunk
        return min(start - since, self.layer_budget(depth)) + since

    def useful_pairs(self, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> int:
        """N(C + 1)/2 + B·N - B(B + C)/2 for start = 0 and N and B multiples of C; exact for any."""
        budget, c = self.layer_budget(depth), self.chunk

        def up_to(n: int) -> int:
            chunks, rest = divmod(n, c)
            growing = min(chunks, budget // c + 1)  # chunks that find i·C kept, not yet B
            kept = c * c * growing * (growing - 1) // 2 + c * budget * (chunks - growing)
            own = chunks * c * (c + 1) // 2 + rest * (rest + 1) // 2
            return kept + own + rest * min(chunks * c, budget)

        return up_to(start + tokens) - up_to(start)

    def outline(self, heads: Heads, tokens: int) -> Outline:
        """A query's own chunk, what always stays, and the rest of the budget: newest first, or anywhere before."""
        end_t = np.arange(tokens) + 1
        chunk_t = (end_t - 1) // self.chunk * self.chunk
        (budget, sinks, recent), newest = self.retention, isinstance(self.policy, Streaming)
        recent = budget - sinks if newest else recent
        whole_t = chunk_t <= budget  # nothing went yet
        start_t = np.where(whole_t, 0, chunk_t - recent)
        sink_t = np.where(whole_t, 0, np.minimum(sinks, start_t))
        left_t = np.where(whole_t | newest, 0, budget - recent - sink_t)
        rest = stretch(sink_t, start_t, left_t / np.maximum(start_t - sink_t, 1))
        return Outline(((stretch(0 * end_t, sink_t), rest, stretch(start_t, end_t)),), exact=newest)

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        budget, all_alike, end = self.layer_budget(depth), self.settled_tokens(depth), start + tokens
        chunk_t, place_t = np.divmod(np.arange(start, end), self.chunk)
        flops_t = 4 * heads.head_dim * heads.n_heads * (place_t + 1 + np.minimum(chunk_t * self.chunk, budget))
        for first in range(start // self.chunk * self.chunk, min(end, all_alike), self.chunk):
            low, high = max(first, start), min(first + self.chunk, end)
            selected_t = _selection_by_token(self, heads, budget, first)
            flops_t[low - start : high - start] += selected_t[low - first : high - first]
        settled = max(all_alike - start, 0)
        flops_t[settled:] += _selection_by_token(self, heads, budget, all_alike)[place_t[settled:]]
        return flops_t

    def settled_tokens(self, depth: Depth) -> int:
        """Every chunk from here on finds as many keys, and is as dear."""
        return (self.layer_budget(depth) // self.chunk + 2) * self.chunk

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        """A sawtooth over what was kept; selection is a stair whose steps do not get lower."""
        settled = self.settled_tokens(depth)
        selection = self.useful(heads, self.chunk, settled, depth).selection_flops
        ripple = 4 * heads.head_dim * heads.n_heads * sawtooth_ripple(self.chunk) + 2 * selection
        return Growth(settled, self.chunk, ripple)

    def _useful_selection(self, heads: Heads, tokens: int, start: int, depth: Depth) -> int:
        budget, settled = self.layer_budget(depth), self.settled_tokens(depth) // self.chunk
        flops = _selection_of_chunks(self, heads, budget, settled)

        def up_to(n: int) -> int:
            chunks, rest = divmod(n, self.chunk)
            more = max(chunks - settled, 0)
            rest_t = _selection_by_token(self, heads, budget, (chunks - more) * self.chunk)[:rest]
            return flops[chunks - more] + more * (flops[settled + 1] - flops[settled]) + int(rest_t.sum())

        return up_to(start + tokens) - up_to(start)

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        """The mean over a chunk: B + (C + 1)/2 keys per head, and its selection."""
        far = max(self.layer_budget(depth) // self.chunk + 2, 2) * self.chunk
        return Fraction(self.useful(heads, self.chunk, far, depth).flops(heads), self.chunk)


@functools.lru_cache(4096)
def _selection_by_token(variant: Evict, heads: Heads, budget: int, first: int) -> np.ndarray:
    """By how many FLOPs of selection each token of the chunk at `first` makes a prompt dearer: int64 [C]."""
    policy, end = variant.policy, first + variant.chunk
    seen_t = min(first, budget) + np.arange(1, variant.chunk + 1)
    flops_t = np.array([policy.useful_observe_flops(heads, 1, heads.n_heads * int(seen)) for seen in seen_t], np.int64)
    flops_t[-1] += policy.useful_score_flops(heads, int(seen_t[-1]), variant.retention) if end > budget else 0
    return flops_t


@functools.lru_cache(4096)
def _selection_of_chunks(variant: Evict, heads: Heads, budget: int, settled: int) -> list[int]:
    """FLOPs of selection of the first 0, 1, 2, ... chunks, up to the first of those that are all as dear."""
    firsts = range(0, (settled + 1) * variant.chunk, variant.chunk)
    return [0, *itertools.accumulate(int(_selection_by_token(variant, heads, budget, i).sum()) for i in firsts)]
