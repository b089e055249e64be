"""KV eviction as most policies are published: once, after the prompt."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np

from attention.cost import ONLY_LAYER, Depth, Growth, Heads
from attention.eviction.cache import EvictingCache
from attention.eviction.chunks import EvictionInChunks
from attention.eviction.piece import Piece
from attention.eviction.policy import Policy
from attention.eviction.share_growth import ROUNDED, growth_after_prompt
from attention.parameters import Budget
from attention.pattern import Array


@dataclass(frozen=True)
class EvictAfter(EvictionInChunks):
    """`evict_after(policy, budget=4096, sinks=4, recent=None)`: the published form, eviction once after the prompt.

    The first step is the prompt, whole: its queries see all that is before them.  Then, if it was longer than
    `budget`, the policy chooses once what stays.  Later steps see that and each other, and nothing goes any more.
    Prefill costs what full attention costs; the cache has a slot per token, so this form is for comparing choices.

    A `budget` below 1 is a share of the prompt (`attention.eviction.share`): keys once its length is known.

    `prompt` says beforehand how many tokens the first step brings, and refuses others: counts of a later step, which
    otherwise take all that came before it for the prompt, then know what is held (`after_prompt`).
    """

    name = "evict_after"
    example = "evict_after(h2o, budget=16)"

    policy: Policy
    budget: Budget = 4096
    sinks: int = 4
    recent: int | None = None
    prompt: int | None = None

    observes_every_piece: ClassVar[bool] = False
    later_steps_alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.prompt is not None and self.prompt < 1:
            raise ValueError(f"evict_after: prompt must be at least 1 token, got {self.prompt}")
        super().__post_init__()

    def at_length(self, total_tokens: int) -> Self:
        return super().at_length(self.prompt or total_tokens)

    def after_prompt(self, prompt_tokens: int) -> Self:
        prompt = self.prompt or prompt_tokens
        return replace(self.at_length(prompt), prompt=prompt)

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
        whole_prompt = self.prompt is None or self.prompt == tokens
        return (length >= (self.prompt or 1)) | (length == 0) & whole_prompt

    def check_step(self, length: int, tokens: int) -> None:
        if not self.fits(length, tokens):
            wanted, chunk = (
                f"evict_after: the prompt was to have {self.prompt} tokens",
                f" after {length}" * (length > 0),
            )
            if length or tokens < (self.prompt or 1):
                raise ValueError(f"{wanted} in one step, got {tokens}{chunk}; evict takes chunks")
            raise ValueError(f"{wanted}, got {tokens}")

    def layer_budget(self, depth: Depth = ONLY_LAYER, prompt: Any = None) -> Any:
        return self.policy.layer_budget(self.retention, depth, prompt)

    def may_evict(self, tokens: int, slots: int) -> bool:
        """No prompt within the budget loses a key, in whatever layer: where one is clipped to it, all keep it."""
        return tokens > self.retention.budget

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

    def held_fall(self, low: int, high: int) -> int:
        """Where a layer of a pyramid keeps all of a longer prompt, a higher one keeps less; of a share, by rounding."""
        if low == high or self.prompt:
            return 0
        if self.share:
            return ROUNDED
        return self.most_kept - self.least_budget if low < self.most_kept else 0

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
        prompts = _of_prompts(self, start, tokens)
        selection = np.array(
            [one._useful_selection(heads, n, 0, depth) for n, one in enumerate(prompts, start)], np.int64
        )
        return 4 * heads.head_dim * heads.n_heads * np.arange(start + 1, start + tokens + 1) + np.diff(selection)

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        """Full attention, and from the first prompt that loses a key on the choosing, which starts with a step."""
        if self.share and self.differs_by_depth(depth.n_layers):
            return growth_after_prompt(self, heads, depth)
        least = self.at_length(1)
        prompts = range(1, least.most_kept + 2)
        first = prompts[bisect_left(prompts, True, key=lambda prompt: self.at_length(prompt).evicts(prompt, depth))]
        return Growth(first, ripple_flops=self.at_length(first)._useful_selection(heads, first, 0, depth))

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        return None


@functools.lru_cache(16)
def _of_prompts(variant: EvictAfter, start: int, tokens: int) -> tuple[EvictAfter, ...]:
    """Its forms for prompts of start..start+tokens tokens; the same in every layer."""
    return tuple(variant.at_length(n) for n in range(start, start + tokens + 1))
