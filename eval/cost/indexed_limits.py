"""What an index saves at most, and from where on it saves, to leading order: from the FLOPs of one token and one key.

    full     f · N/2 a token, over a prompt of N
    indexed  i · N/2 + c · keys

so that they meet at N = 2·c·keys / (f - i), and that no prompt is f / i times cheaper.  The index's projections and the
first queries, which see all, are left out: `eval.cost.break_even` has exact integers for a layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from attention.cost import Heads
from attention.indexed import Indexed


@dataclass(frozen=True)
class KeyFlops:
    """FLOPs of one token and one key.

    Attributes:
        full: of full attention, all query heads.
        chosen: of attention to a chosen key, which may have another form than full attention's.
        index: of all heads of the index.
    """

    full: int | Fraction
    chosen: int | Fraction
    index: int | Fraction

    @property
    def cap(self) -> Fraction:
        """Full attention's FLOPs over those of the index alone: what no prompt's saving passes."""
        return Fraction(self.full) / self.index

    def break_even_tokens(self, keys: int) -> Fraction | None:
        """The length at which `keys` chosen ones and the index cost what full attention does; None if never."""
        return None if self.index >= self.full else 2 * keys * Fraction(self.chosen) / (self.full - self.index)


def key_flops(variant: Indexed, heads: Heads) -> KeyFlops:
    """Those of a variant in a layer with these heads.

    Examples:
        >>> from attention.block_indexed import BlockIndexed
        >>> from attention.cost import Heads
        >>> from eval.cost.indexed_limits import key_flops
        >>> msa, found = BlockIndexed(), key_flops(BlockIndexed(), Heads(64, 4, 128))
        >>> found.cap, found.break_even_tokens(msa.budget_tokens)
        (Fraction(32, 1), Fraction(131072, 31))
    """
    pair = 4 * heads.head_dim * heads.n_heads
    return KeyFlops(pair, pair, Fraction(variant.index_flops(heads).per_score, variant.keys_per_score))
