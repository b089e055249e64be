"""MiniMax Sparse Attention: an index chooses blocks of keys for each key-value head (2606.13392).

block=2, topk=2, a query whose index liked key 1 best at position 5, and key 2 at position 7:

    key   0 1 2 3 4 5 6 7
    q 5   x x     x x
    q 6   x x         x
    q 7       x x     x x
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from attention.block_counts import keys_of_blocks, outline_of_blocks, pairs_of_blocks
from attention.chosen import BlockChoice, ChosenBlocks
from attention.cost import ONLY_LAYER, Cost, Depth, Growth, Heads, executed_pairs, sawtooth_ripple, step_positions
from attention.indexed import Indexed, IndexShape, keys_in_order
from attention.kernels.index_choice import choose_blocks_by_index
from attention.mixer import MixerInput, StepContext
from attention.outline import Outline


@dataclass(frozen=True)
class BlockIndexed(Indexed):
    """`msa(block=128, topk=16, dim=128)`: MiniMax Sparse Attention, blocks that an index chooses (2606.13392).

        score[t, g, b] = max over s in block b of q_index[t, g]·k_index[s],  s <= t        one g a key-value head

    The `topk` blocks with the greatest scores, the query's own among them whatever its score; one choice for all query
    heads of a group, whose softmax is causal over the keys of the chosen blocks.  One key of the index of size `dim`
    a token.  With `topk` >= N / `block` it is full attention.

    Queries of the first `topk` blocks have nothing to choose and ask the index for nothing.  What runs depends on how
    evenly blocks are chosen; `executed` is what the program provides for any choice, and the index's products with
    every slot of the cache.
    """

    name = "msa"
    example = "msa(block=5, topk=2, dim=6)"

    block: int = 128
    topk: int = 16
    dim: int = 128

    def __post_init__(self) -> None:
        if self.block < 1:
            raise ValueError(f"msa: block must be at least 1, got {self.block}")
        if self.topk < 2:
            raise ValueError(f"msa: topk must be at least 2, a query's own block and another, got {self.topk}")
        if self.dim < 2 or self.dim % 2:
            raise ValueError(f"msa: dim must be even, for rotary positions, and at least 2, got {self.dim}")

    @property
    def choice(self) -> BlockChoice:
        """As counts need it: how many blocks, not which."""
        return BlockChoice(self.block, self.topk)

    @property
    def budget_tokens(self) -> int:
        return self.topk * self.block

    def shape(self, heads: Heads) -> IndexShape:
        return IndexShape(heads.n_kv_heads, self.dim)

    def sees_all(self, slots: int) -> bool:
        return self.choice.n_blocks(slots) <= self.topk

    def choose(self, inputs: MixerInput, now: StepContext, k_bs1d: jax.Array, kv_pos_b1s: jax.Array) -> ChosenBlocks:
        k_bsd = keys_in_order(k_bs1d, kv_pos_b1s, self.block)
        return choose_blocks_by_index(self.index_queries(inputs, now), k_bsd, now.q_pos_bt, self.choice)

    # ---------------------------------------------------------------------------------------------------- its cost

    @property
    def assumption(self) -> str:
        return "executed: row tiles that any choice may need"

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        """Pairs as `moba` has them; a query that has a choice, and a product for each key before its own block."""
        (pairs, flops), (pairs_before, flops_before) = (self._up_to(heads, n) for n in (start + tokens, start))
        return Cost(heads.n_heads * (pairs - pairs_before), flops - flops_before)

    def _up_to(self, heads: Heads, n: int) -> tuple[int, int]:
        """Pairs of the first n queries in one head, and FLOPs of the index."""
        (pairs, blocks), all_seen = pairs_of_blocks(n, self.block, self.topk), self.topk * self.block
        _, blocks_seen = pairs_of_blocks(min(n, all_seen), self.block, self.topk)
        per_key, per_query, per_score = self.index_flops(heads)
        scores = per_score * self.block * (blocks - blocks_seen)
        return pairs, per_key * n + per_query * max(0, n - all_seen) + scores

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        q_pos_t, kv_pos_s = step_positions(self.pattern(), tokens, start, capacity or start + tokens)
        per_key, per_query, per_score = self.index_flops(heads)
        if self.sees_all(kv_pos_s.size):
            return Cost(executed_pairs(self.pattern(), heads, q_pos_t, kv_pos_s, impl), tokens * per_key)
        slots = self.choice.n_blocks(kv_pos_s.size) * self.block
        pairs = executed_pairs(self.choice, heads, q_pos_t, kv_pos_s, impl)
        return Cost(pairs, tokens * (per_key + per_query + per_score * slots))

    def outline(self, heads: Heads, tokens: int) -> Outline:
        return outline_of_blocks(tokens, self.block, self.topk)

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        keys_t, block_t = keys_of_blocks(start, tokens, self.block, self.topk)
        per_key, per_query, per_score = self.index_flops(heads)
        index_t = per_key + (block_t >= self.topk) * (per_query + per_score * self.block * block_t)
        return 4 * heads.head_dim * heads.n_heads * keys_t + index_t

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        """A sawtooth of keys over the chosen blocks, and one of keys that the index has not looked at."""
        per_pair = 4 * heads.head_dim * heads.n_heads + self.index_flops(heads).per_score
        return Growth(self.topk * self.block, self.block, per_pair * sawtooth_ripple(self.block))

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> None:
        """The index looks at every key."""
