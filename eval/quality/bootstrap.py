"""How far a mean over a text may be off: the mean over blocks of it that are drawn again.

Neighbouring tokens go up and down together, so that blocks are drawn and not tokens (Kuensch, 1989): what reaches
further than a block is not seen, and a text says nothing of other texts.
"""

from __future__ import annotations

from typing import Final

import numpy as np

BLOCK_TOKENS: Final = 64
LEAST_BLOCKS: Final = 16
"""Of fewer an interval would say too little."""
DRAWS: Final = 1_000
INSIDE: Final = 0.9
"""Share of the draws that the interval holds."""


def mean_intervals(values_mt: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """[M, 2]: between which two figures 90 % of the means of each row lie, float64; None for a text of few blocks.

    All rows are drawn together: of a difference of two of them, give the difference.

    Examples:
        >>> mean_intervals(np.full((1, 1_024), 3.0))
        array([[3., 3.]])
    """
    values_mt = np.asarray(values_mt, np.float64)
    starts = np.arange(0, values_mt.shape[1], BLOCK_TOKENS)
    if len(starts) < LEAST_BLOCKS:
        return None
    sums_mb = np.add.reduceat(values_mt, starts, axis=1)
    sizes_b = np.diff([*starts, values_mt.shape[1]])
    drawn_db = np.random.default_rng(seed).integers(len(starts), size=(DRAWS, len(starts)))
    means_md = sums_mb[:, drawn_db].sum(-1) / sizes_b[drawn_db].sum(-1)
    return np.quantile(means_md, [(1 - INSIDE) / 2, (1 + INSIDE) / 2], axis=1).T
