"""The maps against the dense mask and the exact pair counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from attention.cost import Heads
from attention.kernels.cover import GRANULE
from attention.layout import parse_variant
from attention.mask import dense_mask
from attention.pattern import Tile
from eval.report.page.figures.tile_maps import _path, _runs
from eval.report.page.seen_shares import seen
from tests.examples import ATTENDING

HEADS = Heads(n_heads=6, n_kv_heads=2, head_dim=16, d_model=48)
TOKENS, CELLS = 211, 13
EXACT = ("full", "swa(37)", "swa(31, sinks=5)", "spans(17|71, sinks=3)")
ALL = (
    *ATTENDING,
    *EXACT,
    "evict(streaming, budget=64, chunk=32)",
    "evict(h2o, budget=64, chunk=16)",
    "moba(block=32, topk=3)",
    "routed(19|full, router=periodic)",
)


def stretches(mask_ts: np.ndarray) -> np.ndarray:
    parts = list(itertools.pairwise(np.linspace(0, TOKENS, CELLS + 1).astype(int)))
    return np.array([[mask_ts[a:b, c:d].mean() for c, d in parts] for a, b in parts])


@pytest.mark.parametrize("text", EXACT)
def test_shares_of_a_pattern_are_those_of_its_mask(text):
    variant, at = parse_variant(text), np.arange(TOKENS)
    mask = np.asarray(dense_mask(variant.pattern(), at[None], at[None, None], HEADS.n_heads))[0].mean(0)
    found = seen(variant, HEADS, TOKENS, CELLS)
    np.testing.assert_allclose(found.share_rc, stretches(mask), atol=1e-12)
    assert found.exact


@pytest.mark.parametrize("text", ALL)
def test_shares_add_up_to_the_exact_pairs_of_every_variant(text):
    variant = parse_variant(text).at_length(TOKENS)
    found = seen(variant, HEADS, TOKENS, CELLS)
    edges = np.linspace(0, TOKENS, CELLS + 1).astype(int)
    pairs = (found.share_rc * np.outer(np.diff(edges), np.diff(edges))).sum() * HEADS.n_heads
    assert pairs == pytest.approx(variant.useful(HEADS, TOKENS).pairs, rel=1e-9)
    assert found.share_rc.min() >= 0
    assert found.share_rc.max() <= 1 + 1e-9


@pytest.mark.parametrize("text", EXACT)
def test_tiles_that_do_not_run_see_nothing(text):
    variant, at = parse_variant(text), np.arange(TOKENS)
    found = seen(variant, HEADS, TOKENS, CELLS)
    mask = np.asarray(dense_mask(variant.pattern(), at[None], at[None, None], HEADS.n_heads))[0].any(0)
    for i, row in enumerate(found.kinds):
        for j, kind in enumerate(row):
            tile = mask[i * found.q_tile : (i + 1) * found.q_tile, j * GRANULE : (j + 1) * GRANULE]
            assert tile.any() == (kind != Tile.SKIP)


def test_rectangles_cover_the_cells_once():
    on_rc = np.random.default_rng(7).random((11, 17)) < 0.6
    drawn = np.zeros_like(on_rc, int)
    for top, height, left, width in _runs(on_rc):
        drawn[top : top + height, left : left + width] += 1
    np.testing.assert_array_equal(drawn, on_rc.astype(int))
    assert _path([(0, 2, 1, 3)], 10.0, 5.0) == "M5 0H20V20H5z"
