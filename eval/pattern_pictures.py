"""Pictures of who sees whom: for the terminal, and as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from eval.plots import save

_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def terminal_picture(seen_ts: np.ndarray) -> str:
    """Queries downwards, two to a line; keys to the right."""
    t = len(seen_ts)
    rows = np.pad(seen_ts, ((0, t % 2), (0, 0)))
    lines = ("".join(_HALVES[bool(a), bool(b)] for a, b in zip(*pair, strict=True)) for pair in rows.reshape(-1, 2, t))
    return "\n".join(line.rstrip() for line in lines)


def save_pictures(path: Path, seen: Mapping[str, np.ndarray]) -> Path:
    """One panel for each variant, [T, T]: a PNG."""
    columns = min(4, len(seen))
    lines = -(-len(seen) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.9 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, (name, seen_ts) in zip(panels, seen.items(), strict=False):
        axes.imshow(seen_ts, cmap="Blues", vmin=0, vmax=1.3, interpolation="nearest")
        axes.set_title(name, fontsize=8)
        axes.set(xticks=[], yticks=[], xlabel="key", ylabel="query")
    for axes in panels[len(seen) :]:
        axes.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(figure, path)
