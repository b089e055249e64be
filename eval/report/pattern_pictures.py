"""Pictures of who sees whom: for the terminal, and as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from eval.report.plots import save

_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def terminal_picture(seen_nts: np.ndarray) -> str:
    """Queries downwards, two to a line; keys to the right.  Heads that differ stand side by side."""
    heads = dict.fromkeys(tuple(_head(seen_ts)) for seen_ts in seen_nts)  # those that are alike are drawn once
    return "\n".join("   ".join(lines).rstrip() for lines in zip(*heads, strict=True))


def _head(seen_ts: np.ndarray) -> list[str]:
    t = len(seen_ts)
    rows = np.pad(seen_ts, ((0, t % 2), (0, 0)))
    return ["".join(_HALVES[bool(a), bool(b)] for a, b in zip(*pair, strict=True)) for pair in rows.reshape(-1, 2, t)]


def save_pictures(path: Path, seen: Mapping[str, np.ndarray]) -> Path:
    """One panel for each variant, [N, T, T]: a PNG; the paler a pair, the fewer heads see it."""
    columns = min(4, len(seen))
    lines = -(-len(seen) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.9 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, (name, seen_nts) in zip(panels, seen.items(), strict=False):
        axes.imshow(seen_nts.mean(0), cmap="Blues", vmin=0, vmax=1.3, interpolation="nearest")
        axes.set_title(name, fontsize=8)
        axes.set(xticks=[], yticks=[], xlabel="key", ylabel="query")
    for axes in panels[len(seen) :]:
        axes.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(figure, path)
