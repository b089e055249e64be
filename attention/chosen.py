"""Keys that queries choose by their values, as patterns: what no span says."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from attention.checks import whole


@dataclass(frozen=True)
class BlockChoice:
    """Blocks of `block` keys, of which a query chooses `topk`, its own included.

    The slots of a cache must hold positions 0, 1, 2, ... without a gap, in any order, empty ones anywhere.
    """

    block: int
    topk: int

    def __post_init__(self) -> None:
        whole("keys of a block", self.block)
        whole("blocks that a query chooses", self.topk)

    def n_blocks(self, slots: int) -> int:
        return -(-slots // self.block)

    def choices(self, slots: int) -> int:
        """Blocks that a query of so many slots can choose."""
        return min(self.topk, self.n_blocks(slots))


@dataclass(frozen=True, eq=False)
class ChosenBlocks(BlockChoice):
    """The same where the choice is there already: int32 [choices, B or 1, T, M], M = 1, K or N.

    First a query's own block, then earlier ones, none of them twice, -1 where there are not so many.
    """

    chosen_jbtm: jax.Array


@dataclass(frozen=True)
class TokenChoice:
    """Keys of which a query reads `topk`, the same for all heads; the slots of a cache as `BlockChoice` has them."""

    topk: int

    def __post_init__(self) -> None:
        whole("keys that a query chooses", self.topk)

    def choices(self, slots: int) -> int:
        """Keys that a query of so many slots can choose."""
        return min(self.topk, slots)


@dataclass(frozen=True, eq=False)
class ChosenTokens(TokenChoice):
    """The same where the choice is there already: positions int32 [B or 1, T, choices], none twice, -1 for none."""

    chosen_btj: jax.Array


Choice = BlockChoice | TokenChoice
"""What is no span: for `isinstance`, too."""
