"""Blocks chosen by a rule, without training: the first, the last, and those that probability says between them.

block=2, topk=3, sinks=1, window=1, a query that liked block 2 at position 9:

    key   0 1 2 3 4 5 6 7 8 9
    q 5   x x x x x x
    q 9   x x     x x     x x      its own block and the first, and one of the others
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np

from attention.attended import Attended, AttendFn
from attention.block_counts import keys_of_blocks, pairs_of_blocks
from attention.block_rules import BlockRule, CausalFlash
from attention.chosen import BlockChoice
from attention.cost import ONLY_LAYER, Cost, Depth, Growth, Heads, executed_pairs, sawtooth_ripple, step_positions
from attention.kernels.block_routed import by_position
from attention.kernels.left_out import with_means
from attention.kernels.rule_choice import choose_blocks_by_rule
from attention.outline import Outline, stretch
from attention.pattern import SpanPattern
from attention.stacked import as_array
from attention.variant import LayerInput, Variant


@dataclass(frozen=True)
class BlocksByRule(Variant):
    """`blocks(rule=causal_flash, block=128, topk=16)`: blocks that a rule chooses, on any checkpoint.

        share[n, c] = probability of block c in head n, by the keys that the rule lets stand for it
        score[g, c] = sum of share[n, c] over the query heads n of key-value head g

    The first `sinks` blocks, the last `window`, a query's own among them, and those with the greatest scores, `topk` in
    all: a number where published rules have a threshold, so that shapes do not depend on the tokens.  One choice for
    all query heads of a group.  Each query chooses for itself from the whole blocks before its own, so that any
    steps give what one step gives.  With `topk` >= N / `block` it is full attention.

    The rules are causal forms of XAttention's (2503.16428) and FlashPrefill's (2603.06199), which are not causal.

    With `mean=true` the blocks that are left out count by their means (`attention.kernels.left_out`, FlashPrefill v2,
    2608.19758): what no query reads key by key is in its softmax all the same.

    Queries of the first `topk` blocks have nothing to choose and cost no product.  What runs depends on how evenly
    blocks are chosen; `executed` is what the program provides for any choice, and products with every block of the
    cache.
    """

    name = "blocks"
    example = "blocks(block=5, topk=3, sinks=1, window=1)"
    takes_score: ClassVar[bool] = False

    rule: BlockRule = CausalFlash()
    block: int = 128
    topk: int = 16
    mean: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.rule, BlockRule):
            raise ValueError(
                f"blocks: rule is a rule such as CausalFlash(), got {self.rule!r}; "
                "attention.make('blocks', rule=...) takes its name"
            )
        if self.block < 1:
            raise ValueError(f"blocks: block must be at least 1, got {self.block}")
        self.rule.check(self.block)
        always = self.rule.sinks + self.rule.window
        if self.topk <= always:
            raise ValueError(f"blocks: topk must be more than the {always} blocks of sinks and window, got {self.topk}")

    @property
    def choice(self) -> BlockChoice:
        """As counts need it: how many blocks, not which."""
        return BlockChoice(self.block, self.topk)

    def pattern(self) -> SpanPattern:
        """Every key stays, for a later query may choose it."""
        return SpanPattern()

    def sees_all(self, slots: int) -> bool:
        """Whether queries of so many slots have nothing to choose."""
        return self.choice.n_blocks(slots) <= self.topk

    def attend(self, attend: AttendFn, layer: LayerInput) -> Attended:
        q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks = layer[1:6]
        if self.sees_all(k_bskh.shape[1]):
            return attend(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, self.pattern())
        with jax.named_scope("selection"):
            (k_bksh,) = by_position((as_array(k_bskh),), as_array(kv_pos_bks), self.block)
            chosen = choose_blocks_by_rule(q_btnh, k_bksh, q_pos_bt, self.choice, self.rule)
        if not self.mean:
            return attend(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, chosen)
        attended = attend(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, chosen, need_lse=True)
        (v_bksh,) = by_position((as_array(v_bskh),), as_array(kv_pos_bks), self.block)
        return with_means(attended, q_btnh, k_bksh, v_bksh, q_pos_bt, chosen)

    # ---------------------------------------------------------------------------------------------------- its cost

    @property
    def assumption(self) -> str:
        return "executed: row tiles that any choice may need"

    def score_flops(self, heads: Heads) -> int:
        """Of one query, all heads, and one block."""
        return 2 * heads.head_dim * heads.n_heads * self.rule.per_block(self.block)

    def mean_flops(self, heads: Heads) -> int:
        """Of one query, all heads, and one block that counts by its mean."""
        return 4 * heads.head_dim * heads.n_heads * self.mean

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        """A score for every block before a query's own, where it has a choice; a mean for each that is left out."""
        ends, starts = (self._up_to(n) for n in (start + tokens, start))
        pairs, scores, means = (end - before for end, before in zip(ends, starts, strict=True))
        return Cost(heads.n_heads * pairs, self.score_flops(heads) * scores, self.mean_flops(heads) * means)

    def _up_to(self, n: int) -> tuple[int, int, int]:
        """Of the first n queries: pairs in one head, blocks that are scored, and those of them that are left out."""
        pairs, blocks = pairs_of_blocks(n, self.block, self.topk)
        all_seen = min(n, self.topk * self.block)
        scores = blocks - pairs_of_blocks(all_seen, self.block, self.topk)[1]
        return pairs, scores, scores - (self.topk - 1) * (n - all_seen)

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        """A score for every block that the cache has room for, and a mean."""
        q_pos_t, kv_pos_s = step_positions(self.pattern(), tokens, start, capacity or start + tokens)
        if self.sees_all(kv_pos_s.size):
            return Cost(executed_pairs(self.pattern(), heads, q_pos_t, kv_pos_s, impl))
        pairs, blocks = executed_pairs(self.choice, heads, q_pos_t, kv_pos_s, impl), self.choice.n_blocks(kv_pos_s.size)
        return Cost(pairs, tokens * blocks * self.score_flops(heads), tokens * blocks * self.mean_flops(heads))

    def outline(self, heads: Heads, tokens: int) -> Outline:
        """Sinks, window, and the share of the blocks between them that is chosen."""
        end_t = np.arange(tokens) + 1
        first_t = np.maximum((end_t - 1) // self.block + 1 - self.rule.window, 0) * self.block
        sink_t = np.minimum(self.rule.sinks * self.block, first_t)
        free = (self.topk - self.rule.sinks - self.rule.window) * self.block
        share_t = np.minimum(1.0, free / np.maximum(first_t - sink_t, 1))
        return Outline(
            ((stretch(0 * end_t, sink_t), stretch(sink_t, first_t, share_t), stretch(first_t, end_t)),), exact=False
        )

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        keys_t, block_t = keys_of_blocks(start, tokens, self.block, self.topk)
        chooses_t, left_t = block_t >= self.topk, block_t - self.topk + 1
        of_blocks_t = chooses_t * (self.score_flops(heads) * block_t + self.mean_flops(heads) * left_t)
        return 4 * heads.head_dim * heads.n_heads * keys_t + of_blocks_t

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        """A sawtooth of keys over the chosen blocks; scores and means are a line between blocks."""
        ripple = 4 * heads.head_dim * heads.n_heads * sawtooth_ripple(self.block)
        per_block = self.score_flops(heads) + self.mean_flops(heads)
        return Growth(self.topk * self.block, self.block, ripple + per_block * -(-self.block // 8))

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> None:
        """Every block before is scored."""
