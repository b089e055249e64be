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
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np

from attention.cost import ONLY_LAYER, Depth, Growth, Heads, sawtooth_ripple
from attention.eviction.chunks import EvictionInChunks
from attention.eviction.piece import Piece
from attention.eviction.policy import Policy, Retention
from attention.eviction.share_growth import growth_in_chunks
from attention.eviction.streaming import Streaming
from attention.outline import Outline, stretch
from attention.parameters import Budget
from attention.pattern import Array


@dataclass(frozen=True)
class Evict(EvictionInChunks):
    """`evict(policy, budget=4096, chunk=1024, sinks=4, recent=None)`: eviction during prefill, and in decode.

    Queries see the kept keys and the tokens since the last event, up to their own.  Whenever the sequence's length
    reaches a multiple of `chunk`, and more than `budget` keys are held, every held key gets a score and the best
    `budget` per key-value head stay, at their original positions.  So a prompt in one step, in steps that end at
    multiples of `chunk` or inside one, and in decode steps is the same function.  `sinks` first and `recent` newest
    tokens always stay (None: as the policy was published).  A `budget` below 1 is a share of the prompt
    (`attention.eviction.share`): keys once its length is known, by `at_length`.
    """

    name = "evict"
    example = "evict(knorm, budget=8, chunk=4, sinks=2)"

    policy: Policy
    budget: Budget = 4096
    chunk: int = 1024
    sinks: int = 4
    recent: int | None = None

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"evict: chunk must be at least 1 token, got {self.chunk}")
        super().__post_init__()
        window = self.policy.window(self.at_length(1).retention)
        if window > self.chunk:
            raise ValueError(
                f"evict({self.policy.name}): the score reads the newest {window} queries, more than a chunk of "
                f"{self.chunk}"
            )

    def cache_tokens(self, capacity_tokens: int) -> int:
        """B + C; only the capacity where no event can come before it is reached."""
        return capacity_tokens if self._keeps_all(capacity_tokens) else self.most_kept + self.chunk

    def _keeps_all(self, tokens: int) -> bool:
        return tokens // self.chunk * self.chunk <= self.least_budget

    def cache_fall(self, low: int, high: int) -> int:
        """Of a share: within a chunk, its keys may become so many that the event before it finds nothing to evict."""
        if self.share is None or low - self.chunk >= max(self.share * low, self.at_length(1).budget):
            return 0  # what is kept is, from here on, less than whole chunks
        few, many = self.at_length(low), self.at_length(high)
        if low // self.chunk == high // self.chunk and few._keeps_all(low) == many._keeps_all(high):
            return 0
        return max(many.most_kept + self.chunk - min(low, few.most_kept + self.chunk), 0)

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

    @property
    def held_period_tokens(self) -> int:
        return self.chunk

    def held_fall(self, low: int, high: int) -> int:
        """The tokens since an event, if there is one between: a share's keys grow with the context."""
        return self.chunk - 1 if low // self.chunk < high // self.chunk else 0

    def useful_pairs(self, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> int:
        """N(C + 1)/2 + B·N - B(B + C)/2 for start = 0 and N and B multiples of C; exact for any."""
        budget = self.layer_budget(depth)
        return _pairs(start + tokens, budget, self.chunk, min) - _pairs(start, budget, self.chunk, min)

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
        if self.share:
            return self._token_flops_of_share(heads, start, tokens, depth)
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

    def _token_flops_of_share(self, heads: Heads, start: int, tokens: int, depth: Depth) -> np.ndarray:
        """By what prompts of start..start+tokens tokens, each with its own budget, differ."""
        first_r, told_r = _runs(self, start, tokens)
        n_t, prompts_r = np.arange(start, start + tokens + 1), np.diff(first_r, append=start + tokens + 1)
        budget_r = [self.policy.layer_budget(told, depth) for told in told_r]
        each = zip(budget_r, (first_r // self.chunk).tolist(), told_r, strict=True)
        scores_t = np.repeat(np.array([_scores(self, heads, *one) for one in each], object), prompts_r)
        pairs_t = _pairs(n_t, np.repeat(budget_r, prompts_r), self.chunk, np.minimum)
        per_query, per_pair = (self.policy.useful_observe_flops(heads, *one) for one in ((1, 0), (0, heads.n_heads)))
        per_pair += 4 * heads.head_dim * heads.n_heads
        return per_query + per_pair * np.diff(pairs_t) + np.diff(scores_t).astype(np.int64)

    def settled_tokens(self, depth: Depth) -> int:
        """Every chunk from here on finds as many keys, and is as dear."""
        return (self.layer_budget(depth) // self.chunk + 2) * self.chunk

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        """A sawtooth over what was kept; selection is a stair whose steps do not get lower."""
        if self.share:
            return growth_in_chunks(self, heads, depth, self.chunk)
        settled = self.settled_tokens(depth)
        selection = self.useful(heads, self.chunk, settled, depth).selection_flops
        ripple = 4 * heads.head_dim * heads.n_heads * sawtooth_ripple(self.chunk) + 2 * selection
        return Growth(settled, self.chunk, ripple)

    def _useful_selection(self, heads: Heads, tokens: int, start: int, depth: Depth) -> int:
        budget = self.layer_budget(depth)

        def up_to(n: int) -> int:
            pairs = heads.n_heads * self.useful_pairs(n, depth=depth)
            observed = self.policy.useful_observe_flops(heads, n, pairs)
            return observed + _scores(self, heads, budget, n // self.chunk, self.retention)

        return up_to(start + tokens) - up_to(start)

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        """The mean over a chunk: B + (C + 1)/2 keys per head, and its selection; a share has no limit."""
        if self.share:
            return None
        far = max(self.layer_budget(depth) // self.chunk + 2, 2) * self.chunk
        return Fraction(self.useful(heads, self.chunk, far, depth).flops(heads), self.chunk)


def _pairs(n: Any, budget: Any, chunk: int, least: Callable[[Any, Any], Any]) -> Any:
    """Of the first n tokens, in a head that keeps so many; of integers, or of arrays."""
    chunks, rest = n // chunk, n % chunk
    growing = least(chunks, budget // chunk + 1)  # chunks that find i·C kept, not yet B
    kept = chunk * chunk * growing * (growing - 1) // 2 + chunk * budget * (chunks - growing)
    own = chunks * chunk * (chunk + 1) // 2 + rest * (rest + 1) // 2
    return kept + own + rest * least(chunks * chunk, budget)


def _scores(variant: Evict, heads: Heads, budget: int, chunks: int, told: Retention) -> int:
    """FLOPs of the scores of so many chunks: the first event scores whole chunks, each later one the budget and one."""
    chunk, before_first = variant.chunk, budget // variant.chunk
    events = chunks - before_first
    if events <= 0:
        return 0
    flops = variant.policy.useful_score_flops(heads, (before_first + 1) * chunk, told)
    return flops + (events - 1) * variant.policy.useful_score_flops(heads, budget + chunk, told)


@functools.lru_cache(16)
def _runs(variant: Evict, start: int, tokens: int) -> tuple[np.ndarray, tuple[Retention, ...]]:
    """Prompts of start..start+tokens tokens that end in the same chunk and keep as many keys, ⌊share · N⌋: the first of
    each run, and what the policy is told of them in every layer."""
    assert variant.share is not None
    prompts = range(start, start + tokens + 1)
    kept_t = np.array([n * variant.share.numerator // variant.share.denominator for n in prompts])
    changes_t = (np.diff(kept_t, prepend=-1) != 0) | (np.array(prompts) % variant.chunk == 0)
    first_r = start + np.flatnonzero(changes_t)
    return first_r, tuple(variant.at_length(n).retention for n in first_r.tolist())


@functools.lru_cache(4096)
def _selection_by_token(variant: Evict, heads: Heads, budget: int, first: int) -> np.ndarray:
    """By how many FLOPs of selection each token of the chunk at `first` makes a prompt dearer: int64 [C]."""
    policy, end = variant.policy, first + variant.chunk
    seen_t = min(first, budget) + np.arange(1, variant.chunk + 1)
    flops_t = np.array([policy.useful_observe_flops(heads, 1, heads.n_heads * int(seen)) for seen in seen_t], np.int64)
    flops_t[-1] += policy.useful_score_flops(heads, int(seen_t[-1]), variant.retention) if end > budget else 0
    return flops_t
