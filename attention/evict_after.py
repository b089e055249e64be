"""KV eviction as most policies are published: once, after the prompt."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from attention.cost import ONLY_LAYER, Depth, Growth, Heads
from attention.eviction.base import Piece
from attention.eviction.cache import EvictingCache
from attention.eviction.chunks import EvictionInChunks
from attention.eviction.policy import Policy
from attention.pattern import Array


@dataclass(frozen=True)
class EvictAfter(EvictionInChunks):
    """`evict_after(policy, budget=4096, sinks=4, recent=None)`: the published form, eviction once after the prompt.

    The first step is the prompt, whole: its queries see all that is before them.  Then, if it was longer than
    `budget`, the policy chooses once what stays.  Later steps see that and each other, and nothing goes any more.
    Prefill costs what full attention costs; the cache has a slot per token, so this form is for comparing choices.

    `prompt` says beforehand how many tokens the first step brings, and refuses others: counts of a later step, which
    otherwise take all that came before it for the prompt, then know what is held (`after_prompt`).
    """

    name = "evict_after"
    example = "evict_after(h2o, budget=16)"

    policy: Policy
    budget: int = 4096
    sinks: int = 4
    recent: int | None = None
    prompt: int | None = None

    observes_every_piece: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.prompt is not None and self.prompt < 1:
            raise ValueError(f"evict_after: prompt must be at least 1 token, got {self.prompt}")
        super().__post_init__()

    def after_prompt(self, prompt_tokens: int) -> EvictAfter:
        return self if self.prompt else replace(self, prompt=prompt_tokens)

    def check_steps(self, steps: Iterable[tuple[int, int]]) -> None:
        first, *later = steps
        if first[0] == 0 and later and later[0][1] > 1:
            raise ValueError(f"evict_after: the prompt comes in one step, got {1 + len(later)}; evict takes chunks")
        self.check_step(*first)

    def cache_tokens(self, capacity_tokens: int) -> int:
        return capacity_tokens

    def piece_tokens(self, step_tokens: int) -> int:
        return step_tokens

    def fits(self, length: Array, tokens: int) -> Array:
        return (length != 0) | (self.prompt is None or self.prompt == tokens)

    def check_step(self, length: int, tokens: int) -> None:
        if not self.fits(length, tokens):
            raise ValueError(f"evict_after: the prompt was to have {self.prompt} tokens, got {tokens}")

    def layer_budget(self, depth: Depth = ONLY_LAYER, prompt: Any = None) -> Any:
        return self.policy.layer_budget(self.retention, depth, prompt)

    def may_evict(self, tokens: int, slots: int) -> bool:
        """No prompt within the budget loses a key, in whatever layer: where one is clipped to it, all keep it."""
        return tokens > self.budget

    def event_slots(self, tokens: int, slots: int) -> tuple[int, int]:
        return min(self.most_kept, tokens), tokens

    def piece(self, length: Array, tokens: int, budget: Array, prompt: Array, xp: ModuleType = np) -> Piece:
        """What the event left ends where the prompt ended."""
        kept = self.most_kept if self.policy.per_head else budget
        first = xp.where((length > 0) & (prompt > budget), xp.maximum(prompt - kept, 0), 0)
        return Piece(length, length, first + 0 * length, length == 0, (length == 0) & (tokens > budget))

    def keys_in_order(self, first: bool, n_layers: int) -> bool:
        """Until the event; after it the first slots are empty."""
        return first

    def with_known(self, state: EvictingCache, tokens: int, start: int, capacity: int) -> EvictingCache:
        """The prompt."""
        prompt = self.prompt_tokens(tokens, start) if start else 0
        known: Any = np.full(state.prompt.shape, prompt, np.int32)
        return state._replace(prompt=known)

    def prompt_tokens(self, tokens: int, start: int) -> int:
        return self.prompt or start or tokens

    def held(self, start: int, depth: Depth = ONLY_LAYER) -> int:
        """What stayed of the prompt, and every token since."""
        if not start:
            return 0
        prompt = self.prompt_tokens(0, start)
        return min(prompt, self.layer_budget(depth, prompt)) + start - prompt

    def useful_pairs(self, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> int:
        """N(N + 1)/2 for start = 0, and as many for later tokens, which besides see what was held before them."""
        return tokens * self.held(start, depth) + tokens * (tokens + 1) // 2

    def evicts(self, prompt: int, depth: Depth) -> bool:
        """Whether a prompt of so many tokens is longer than what stays of it; if one is, all longer ones are."""
        return prompt > self.layer_budget(depth, prompt)

    def _useful_selection(self, heads: Heads, tokens: int, start: int, depth: Depth) -> int:
        """Of the prompt alone, and only where something goes."""
        if start or not self.evicts(tokens, depth):
            return 0
        pairs = heads.n_heads * self.useful_pairs(tokens)
        observed = self.policy.useful_observe_flops(heads, tokens, pairs)
        return observed + self.policy.useful_score_flops(heads, tokens, self.retention)

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        lengths = range(start, start + tokens + 1)
        selection = np.array([self._useful_selection(heads, n, 0, depth) for n in lengths], np.int64)
        return 4 * heads.head_dim * heads.n_heads * np.arange(start + 1, start + tokens + 1) + np.diff(selection)

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        """Full attention, and from the first prompt that loses a key on the choosing, which starts with a step."""
        prompts = range(self.budget + 1, self.most_kept + 2)
        first = prompts[bisect_left(prompts, True, key=lambda prompt: self.evicts(prompt, depth))]
        return Growth(first, ripple_flops=self._useful_selection(heads, first, 0, depth))

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        return None
