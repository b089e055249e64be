"""The maps of who sees whom: lengths, words and shades against the dense mask."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

from attention.mask import dense_mask
from eval.measure.named_layout import named_layouts
from eval.report.page.figure import Context
from eval.report.page.figures.tile_maps import CELLS, SHADES, SIDE, tile_map_figure
from eval.report.page.series import all_series
from refmodel.presets import preset

MODEL, TOKENS = preset("tiny-dense"), 8 * CELLS
LAYOUTS = named_layouts(["3*swa(37)+full"], MODEL.n_layers)


@pytest.fixture(scope="module")
def maps():
    """The markup of each variant's map, of a summary with several lengths."""
    results = [SimpleNamespace(tokens=tokens, whole_ms=1, attention_ms=None) for tokens in (16, TOKENS)]
    summary = SimpleNamespace(config=MODEL, layouts=LAYOUTS, results=results)
    context = Context(summary, {}, {}, all_series(layout.name for layout in LAYOUTS), ["prefillwall compare"])
    figure = tile_map_figure(context)
    assert f"One layer, {TOKENS} tokens" in figure.note and len(figure.panels) == 2
    return dict(zip(("full", "swa(37)"), map(str, figure.panels), strict=True))


def cells(markup: str, class_: str, rows: int, columns: int) -> np.ndarray:
    """Which cells of a map of rows x columns the rectangles of a path cover."""
    found = np.zeros((rows, columns), bool)
    for path in re.findall(rf'<path class="{class_}" d="([^"]*)"', markup):
        for x, y, right, below in re.findall(r"M([\d.]+) ([\d.]+)H([\d.]+)V([\d.]+)H", path):
            left, end = (round(float(at) * columns / SIDE) for at in (x, right))
            top, bottom = (round(float(at) * rows / SIDE) for at in (y, below))
            found[top:bottom, left:end] = True
    return found


@pytest.mark.parametrize(("name", "window"), [("full", TOKENS), ("swa(37)", 37)])
def test_shades_and_words_are_the_masks(maps, name, window):
    variant = next(one for one in LAYOUTS[1].counts if str(one) == name)
    at = np.arange(TOKENS)
    mask_ts = np.asarray(dense_mask(variant.pattern(), at[None], at[None, None], MODEL.n_heads))[0, 0]
    share_rc = mask_ts.reshape(CELLS, 8, CELLS, 8).mean((1, 3))
    for shade in range(1, SHADES + 1):
        wanted = (share_rc > (shade - 1) / SHADES) & (share_rc <= shade / SHADES)
        np.testing.assert_array_equal(cells(maps[name], f"seen d{shade}", CELLS, CELLS), wanted)
    pairs = sum(min(position + 1, window) for position in at)
    assert pairs == mask_ts.sum()
    useful, executed = map(float, re.search(r"useful ([\d.]+) %, executed ([\d.]+) %", maps[name]).groups())
    assert useful == pytest.approx(100 * pairs / (TOKENS * (TOKENS + 1) / 2), abs=0.05) and useful < executed
    runs = cells(maps[name], "runs", CELLS, CELLS)
    assert (runs | ~mask_ts.reshape(CELLS, 8, CELLS, 8).any((1, 3))).all() and 0 < runs.mean() < 1
