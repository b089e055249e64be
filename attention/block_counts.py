"""What choosing blocks of keys costs, in closed form: of a query's own block and the `topk` - 1 that it likes best."""

from __future__ import annotations

import numpy as np

from attention.outline import Outline, stretch


def pairs_of_blocks(tokens: int, block: int, topk: int) -> tuple[int, int]:
    """Pairs of the first `tokens` queries in one head, and the blocks before each query's own, summed over them.

    n·B(B + 1)/2 + B²·sum_b min(b, k - 1) pairs for n = N/B blocks.
    """
    whole, rest = divmod(tokens, block)
    own = whole * block * (block + 1) // 2 + rest * (rest + 1) // 2
    few = min(whole, topk - 1)  # blocks with fewer before them than may be chosen
    earlier = few * (few - 1) // 2 + (whole - few) * (topk - 1)
    return own + block * (block * earlier + rest * few), block * whole * (whole - 1) // 2 + rest * whole


def keys_of_blocks(start: int, tokens: int, block: int, topk: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys that each query start..start+tokens-1 sees in one head, and the blocks before its own: int64 [T] each."""
    block_t, place_t = np.divmod(np.arange(start, start + tokens), block)
    return place_t + 1 + block * np.minimum(block_t, topk - 1), block_t


def outline_of_blocks(tokens: int, block: int, topk: int) -> Outline:
    """A query's own block, and topk - 1 of the blocks before it."""
    end_t = np.arange(tokens) + 1
    block_t = (end_t - 1) // block
    earlier = stretch(0 * end_t, block_t * block, np.minimum(1.0, (topk - 1) / np.maximum(block_t, 1)))
    return Outline(((earlier, stretch(block_t * block, end_t)),), exact=False)
