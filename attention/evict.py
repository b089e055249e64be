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

from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType

import numpy as np

from attention.cost import ONLY_LAYER, Depth, Heads
from attention.eviction.base import Eviction, Piece
from attention.eviction.policy import Policy
from attention.eviction.streaming import Streaming
from attention.outline import Outline, stretch
from attention.pattern import Array


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

    def piece(self, length: Array, tokens: int, budget: Array, xp: ModuleType = np) -> Piece:
        most = self.most_kept
        chunk_start, after = length // self.chunk * self.chunk, length + tokens
        full = chunk_start > budget  # some key went already
        return Piece(
            length,
            xp.where(full, most, chunk_start) + length % self.chunk,
            xp.where(full, most - budget, 0),
            length == chunk_start,
            (after % self.chunk == 0) & (after > budget),
        )

    def keys_in_order(self, first: bool, n_layers: int) -> bool:
        """Where all heads of all layers keep as many keys."""
        return not self.policy.per_head and set(self.layer_budgets(n_layers)) == {self.most_kept}

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

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        """The mean over a chunk: B + (C + 1)/2 keys per head, and its selection."""
        far = max(self.layer_budget(depth) // self.chunk + 2, 2) * self.chunk
        return Fraction(self.useful(heads, self.chunk, far, depth).flops(heads), self.chunk)
