"""Intervals of means against a direct draw of blocks, and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from eval.quality.bootstrap import BLOCK_TOKENS, DRAWS, LEAST_BLOCKS, mean_intervals


def test_intervals_are_quantiles_of_means_over_drawn_blocks():
    values = np.random.default_rng(3).normal(size=(2, 16 * BLOCK_TOKENS + 5))  # a ragged last block
    blocks = [values[:, i : i + BLOCK_TOKENS] for i in range(0, values.shape[1], BLOCK_TOKENS)]
    drawn = np.random.default_rng(7).integers(17, size=(DRAWS, 17))
    means = np.stack([np.concatenate([blocks[i] for i in one], axis=1).mean(1) for one in drawn])
    np.testing.assert_allclose(mean_intervals(values, seed=7), np.quantile(means, [0.05, 0.95], axis=0).T)


def test_a_text_of_few_blocks_has_none():
    tokens = LEAST_BLOCKS * BLOCK_TOKENS
    assert mean_intervals(np.ones((1, tokens - BLOCK_TOKENS))) is None
    assert mean_intervals(np.ones((1, tokens - BLOCK_TOKENS + 1))) == pytest.approx(np.ones((1, 2)))


def test_nine_of_ten_intervals_hold_the_mean_though_neighbours_go_together():
    """Sums over 9 neighbours: intervals of single tokens would be a third as wide, and hold it every other time."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(300, 32 * BLOCK_TOKENS + 8))
    texts = np.lib.stride_tricks.sliding_window_view(noise, 9, axis=1).sum(-1)
    low, high = np.stack([mean_intervals(one[None])[0] for one in texts]).T
    assert 0.84 < ((low < 0) & (high > 0)).mean() < 0.94
