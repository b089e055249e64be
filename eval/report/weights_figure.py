"""A picture of what queries read: `refmodel.observe.attention_weights`, a panel for each layer and head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from attention.checks import has_axes, of_kind, whole
from eval.report.picture import Picture

MOST_PANELS: Final = 64


def weights_figure(
    weights: Mapping[int, Any], *, row: int = 0, heads: Sequence[int] | None = None, most: float = 1.0
) -> Picture:
    """Queries downwards, keys to the right; the square root of a weight is its darkness, or small ones would be white.

    Args:
        weights: {layer: [B, N, Q, S]}.
        row: which of the batch.
        heads: their numbers (default: all).
        most: the weight that is black.

    Raises:
        ValueError: a row or a head that is not there, nothing to draw, and more than 64 panels.

    Examples:
        >>> import numpy as np, refmodel
        >>> from refmodel.observe import attention_weights
        >>> model = refmodel.load("tiny-dense", layout="swa(3)")
        >>> seen = attention_weights(model.config, model.params, np.arange(7)[None], [1])
        >>> len(weights_figure(seen, heads=[0, 4]).axes)
        2
    """
    of_kind("weights: {layer: [B, N, Q, S]}", weights, Mapping)
    of_kind("heads: a sequence of numbers, or None,", heads, Sequence | None)
    if not 0 < most <= 1:
        raise ValueError(f"most is a weight above 0, up to 1, got {most}")
    panels = {}
    for layer, weight_bnqs in weights.items():
        has_axes(f"weights of layer {layer}", weight_bnqs, "[B, N, Q, S]")
        n_rows, n_heads = weight_bnqs.shape[:2]
        whole("row", row, 0, n_rows - 1)
        for head in range(n_heads) if heads is None else heads:
            whole("a head", head, 0, n_heads - 1)
            panels[layer, head] = np.asarray(weight_bnqs[row, head], np.float32)
    if not 1 <= len(panels) <= MOST_PANELS:
        raise ValueError(f"a picture has 1 to {MOST_PANELS} panels, a layer's head each, got {len(panels)}")
    columns = max(sum(layer == first for layer, _ in panels) for first, _ in panels)
    lines = len(weights)
    figure = Picture(figsize=(1.6 * columns + 0.6, 1.7 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, layer in zip(grid, weights, strict=True):
        drawn = [(head, weight_qs) for (of, head), weight_qs in panels.items() if of == layer]
        for axis in axes[len(drawn) :]:
            axis.set_visible(False)
        for axis, (head, weight_qs) in zip(axes, drawn, strict=False):
            axis.imshow(
                np.sqrt(weight_qs), cmap="Greys", vmin=0, vmax=most**0.5, aspect="auto", interpolation="nearest"
            )
            axis.set_title(f"layer {layer}, head {head}", fontsize=7)
            axis.set(xticks=[], yticks=[])
    figure.supxlabel("key", fontsize=8)
    figure.supylabel("query", fontsize=8)
    return figure
