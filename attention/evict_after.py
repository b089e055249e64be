"""KV eviction as most policies are published: once, after the prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType

import numpy as np

from attention.cost import ONLY_LAYER, Depth, Growth, Heads
from attention.eviction.base import Piece
from attention.eviction.chunks import EvictionInChunks
from attention.eviction.policy import Policy
from attention.pattern import Array


@dataclass(frozen=True)
class EvictAfter(EvictionInChunks):
    """`evict_after(policy, budget=4096, sinks=4, recent=None)`: the published form, eviction once after the prompt.

    The first step is the prompt, whole: its queries see all that is before them.  Then, if it was longer than
    `budget`, the policy chooses once what stays.  Later steps see that and each other, and nothing goes any more.
    Prefill costs what full attention costs; the cache has a slot per token, so this form is for comparing choices.
    """

    name = "evict_after"
    example = "evict_after(h2o, budget=16)"

    policy: Policy
    budget: int = 4096
    sinks: int = 4
    recent: int | None = None

    def check_steps(self, steps: Iterable[tuple[int, int]]) -> None:
        first, *later = steps
        if first[0] == 0 and later and later[0][1] > 1:
            raise ValueError(f"evict_after: the prompt comes in one step, got {1 + len(later)}; evict takes chunks")

    def cache_tokens(self, capacity_tokens: int) -> int:
        return capacity_tokens

    def piece_tokens(self, step_tokens: int) -> int:
        return step_tokens

    def fits(self, length: Array, tokens: int) -> Array:
        return np.bool_(True)

    def piece(self, length: Array, tokens: int, budget: Array, xp: ModuleType = np) -> Piece:
        return Piece(length, length, 0 * length, length == 0, (length == 0) & (tokens > budget))

    def valid(self, piece: Piece, tokens: int, slot_s: Array, pos_bks: Array) -> Array:
        """How long the prompt was is in the positions only."""
        return pos_bks >= 0 if self.policy.per_head else pos_bks[:1, :1] >= 0

    def keys_in_order(self, first: bool, n_layers: int) -> bool:
        """Until the event; after it new tokens stand where the prompt ended."""
        return first

    @property
    def knows_its_slots(self) -> bool:
        """How long the prompt was is in the positions only."""
        return False

    def slot_positions(
        self, piece: Piece, tokens: int, slots: int, budget: Array, xp: ModuleType = np
    ) -> tuple[Array, Array]:
        """Later steps: as if the prompt was of `piece.place` tokens."""
        q_slot_t, kv_slot_s = super().slot_positions(piece, tokens, slots, budget, xp)
        most = min(self.most_kept, slots)
        first = 0 if self.policy.per_head else most - budget
        gone = (kv_slot_s < first) | ((kv_slot_s >= most) & (kv_slot_s < piece.place))
        return q_slot_t, xp.where(gone & (piece.place > budget), -1, kv_slot_s)

    def useful_pairs(self, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> int:
        """N(N + 1)/2 for start = 0; later steps: as if the prompt was of `start` tokens."""
        return tokens * min(start, self.layer_budget(depth)) + tokens * (tokens + 1) // 2

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        budget, lengths = self.layer_budget(depth), range(start, start + tokens + 1)
        selection = np.array([self._prompt_selection(heads, n, budget) for n in lengths], np.int64)
        return 4 * heads.head_dim * heads.n_heads * np.arange(start + 1, start + tokens + 1) + np.diff(selection)

    def _prompt_selection(self, heads: Heads, tokens: int, budget: int) -> int:
        event = self.policy.score_flops(heads, tokens, self.retention) if tokens > budget else 0
        return event + (self.policy.observe_flops(heads, tokens, tokens) if tokens else 0)

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        """Full attention, and from the budget on a product for every key; queries are scored in tiles of 64."""
        budget = self.layer_budget(depth)
        tile = self.policy.observe_flops(heads, 2, 64) - self.policy.observe_flops(heads, 1, 64)
        event = self.policy.score_flops(heads, budget, self.retention)
        return Growth(max(64, budget + 1), 64, event, tile)

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        return None
