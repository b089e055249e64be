"""Block-routed attention: a query reads the blocks whose mean key it likes best, and its own.

block=2, topk=2, a query that liked block 0 at position 5:

    key   0 1 2 3 4 5
    q 0   x
    q 1   x x
    q 2   x x x
    q 3   x x x x
    q 4   . . . . x      one of the earlier blocks
    q 5   x x     x x
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from attention.attended import Attended, AttendFn
from attention.block_counts import keys_of_blocks, outline_of_blocks, pairs_of_blocks
from attention.chosen import BlockChoice
from attention.cost import ONLY_LAYER, Cost, Depth, Growth, Heads, executed_pairs, sawtooth_ripple, step_positions
from attention.outline import Outline
from attention.pattern import SpanPattern
from attention.variant import LayerInput, Variant


@dataclass(frozen=True)
class BlockRouted(Variant):
    """`moba(block=512, topk=3)`: mixture of block attention (Lu et al., 2502.13189).

    Each query head chooses for itself, by q · mean(K of the block) after rotary positions in float32; the current block
    is always among the `topk`, and causal inside.  Every key stays in the cache.  Blocks go by position, so that any
    steps give what one step gives.  With `topk` >= N / `block` it is full attention.

    What runs depends on how evenly blocks are chosen; `executed` is what the program provides for any choice.
    """

    name = "moba"
    example = "moba(block=5, topk=2)"
    takes_score: ClassVar[bool] = False

    block: int = 512
    topk: int = 3

    def __post_init__(self) -> None:
        for field in ("block", "topk"):
            if getattr(self, field) < 1:
                raise ValueError(f"moba: {field} must be at least 1, got {getattr(self, field)}")

    def pattern(self) -> SpanPattern:
        return SpanPattern()

    def attend(self, attend: AttendFn, layer: LayerInput) -> Attended:
        choice = BlockChoice(self.block, self.topk)
        return attend(layer.q_btnh, layer.k_bskh, layer.v_bskh, layer.q_pos_bt, layer.kv_pos_bks, choice)

    @property
    def assumption(self) -> str:
        return "executed: row tiles that any choice may need"

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        """A gate for every earlier block, where any is chosen."""
        (pairs, gates), (pairs_before, gates_before) = (
            pairs_of_blocks(n, self.block, self.topk) for n in (start + tokens, start)
        )
        gates = (gates - gates_before) * (self.topk > 1)
        return Cost(heads.n_heads * (pairs - pairs_before), 2 * heads.head_dim * heads.n_heads * gates)

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        """A gate for every block that the cache has room for."""
        q_pos_t, kv_pos_s = step_positions(self.pattern(), tokens, start, capacity or start + tokens)
        choice, slots = BlockChoice(self.block, self.topk), kv_pos_s.size
        gates = choice.n_blocks(slots) if choice.choices(slots) > 1 else 0
        pairs = executed_pairs(choice, heads, q_pos_t, kv_pos_s, impl)
        return Cost(pairs, 2 * heads.head_dim * heads.n_heads * tokens * gates)

    def outline(self, heads: Heads, tokens: int) -> Outline:
        return outline_of_blocks(tokens, self.block, self.topk)

    def token_flops(self, heads: Heads, start: int, tokens: int, depth: Depth = ONLY_LAYER) -> np.ndarray:
        keys_t, block_t = keys_of_blocks(start, tokens, self.block, self.topk)
        return 2 * heads.head_dim * heads.n_heads * (2 * keys_t + block_t * (self.topk > 1))

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        """A sawtooth of keys over the chosen blocks; gates are a line between blocks."""
        ripple = sawtooth_ripple(self.block) + self.block
        return Growth(self.topk * self.block, self.block, 4 * heads.head_dim * heads.n_heads * ripple)

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction | None:
        """Gates grow with the number of blocks; without any, a token sees half a block."""
        return None if self.topk > 1 else 4 * heads.head_dim * heads.n_heads * Fraction(self.block + 1, 2)
