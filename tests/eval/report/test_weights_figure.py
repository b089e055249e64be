"""Every panel shows its layer's head of the row that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from eval.report.weights_figure import weights_figure

RNG = np.random.default_rng(3)
WEIGHTS = {2: RNG.random((2, 3, 5, 7)), 11: RNG.random((2, 5, 5, 7))}  # [B, N, Q, S]


@pytest.mark.parametrize(("row", "heads"), [(0, None), (1, [2, 0])])
def test_each_panel_is_its_head(row: int, heads: list[int] | None) -> None:
    figure = weights_figure(WEIGHTS, row=row, heads=heads, most=0.5)
    drawn = {axes.get_title(): axes.images[0] for axes in figure.axes if axes.get_visible()}
    expected = [(layer, head) for layer, one in WEIGHTS.items() for head in heads or range(one.shape[1])]
    assert list(drawn) == [f"layer {layer}, head {head}" for layer, head in expected]
    for (layer, head), image in zip(expected, drawn.values(), strict=True):
        np.testing.assert_allclose(image.get_array(), WEIGHTS[layer][row, head] ** 0.5, rtol=1e-6)
        assert image.get_clim() == (0, 0.5**0.5)


@pytest.mark.parametrize(
    ("weights", "given", "words"),
    [
        (WEIGHTS, {"row": 2}, "row must be a whole number from 0 to 1, got 2"),
        (WEIGHTS, {"heads": [3]}, "a head must be a whole number from 0 to 2, got 3"),
        (WEIGHTS, {"heads": 1}, "heads: a sequence of numbers, or None, is wanted, got 1"),
        (WEIGHTS, {"most": -1}, "most is a weight above 0, up to 1, got -1"),
        ({0: np.zeros((3, 5, 7))}, {}, r"weights of layer 0 must be \[B, N, Q, S\], got float64\[3, 5, 7\]"),
        ({}, {}, "1 to 64 panels, a layer's head each, got 0"),
        ({0: np.zeros((1, 65, 2, 3))}, {}, "got 65"),
    ],
    ids=["row", "head", "heads", "most", "axes", "nothing", "many"],
)
def test_what_cannot_be_drawn(weights, given, words) -> None:
    with pytest.raises(ValueError, match=words):
        weights_figure(weights, **given)
