"""Who sees whom, and what runs: a map for each variant, queries downwards, keys to the right."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import get_args

import numpy as np

from attention.full import Full
from attention.kernels.cover import GRANULE
from attention.mixer import Mixer
from attention.pattern import Tile
from eval.cost.flops.closed_form import Count, attention_flops
from eval.report.number_format import count, percent
from eval.report.page.figure import Context, Figure
from eval.report.page.markup import Markup, element, px
from eval.report.page.seen_shares import Seen, seen
from refmodel.specification import ModelConfig

SIDE = 256
CELLS = 64
MOST_TOKENS = 8192
"""Maps are of the longest prompt that was measured, up to this one."""
SHADES = 5


def tile_map_figure(context: Context) -> Figure | None:
    """One map for each variant among the layouts."""
    lengths = context.lengths or [row.tokens for row in context.summary.results]
    if not lengths:
        return None
    tokens = min(max(lengths), MOST_TOKENS)
    users: dict[Mixer, list[str]] = {}
    for layout in context.summary.layouts:
        for variant in layout.counts:
            users.setdefault(variant, []).append(layout.name)
    panels = tuple(_card(context, variant, layouts, tokens) for variant, layouts in users.items())
    note = (
        f"One layer, {count(tokens)} tokens: queries downwards, keys to the right. The stronger the colour, the larger "
        "the share of a cell's pairs that is visible (mean over the heads). Grey behind it: tiles that run although "
        "not all of their pairs are visible, where a fixed pattern decides (blockwise kernel, "
        f"{GRANULE} keys to a tile). A dashed frame: the tokens decide which keys are seen; their number is exact, "
        "their place is not shown."
    )
    drawn = f"prefillwall variants {' '.join(shlex.quote(str(variant)) for variant in users)} --draw 64"
    title = "Who sees whom, and which tiles run"
    return Figure("tiles", title, panels, note, context.redraw, shape="map", related=(drawn,))


def _card(context: Context, variant: Mixer, layouts: list[str], tokens: int) -> Markup:
    config, name = context.summary.config, str(variant)
    found = seen(variant, config.heads, tokens, CELLS)
    useful, executed = (_of_full(config, variant, tokens, kind) for kind in get_args(Count))
    own = name in layouts
    series = context.series[name if own else layouts[0]]
    said = f"useful {percent(useful)}, executed {percent(executed)} of full attention's useful FLOPs"
    numbers = " ".join(str(context.series[layout].number) for layout in layouts)
    return element(
        "div", element("p", series.swatch() if own else "", element("b", name), class_="map-name"),
        _svg(found, tokens, name, said), element("p", said, class_="map-note"),
        class_=f"map {series.css}", data_v=numbers,
    )  # fmt: skip


def _of_full(config: ModelConfig, variant: Mixer, tokens: int, kind: Count) -> float:
    return attention_flops(variant, config, tokens, count=kind) / attention_flops(Full(), config, tokens)


def _svg(found: Seen, tokens: int, variant: str, said: str) -> Markup:
    parts = [
        element(
            "rect", class_="field" if found.exact else "field unknown", x=0.5, y=0.5, width=SIDE - 1, height=SIDE - 1
        )
    ]
    if found.kinds is not None:
        runs = _runs(found.kinds != Tile.SKIP)
        parts.append(
            element("path", class_="runs", d=_path(runs, SIDE / (tokens / found.q_tile), SIDE / (tokens / GRANULE)))
        )
    rows, columns = found.share_rc.shape
    shade_rc = np.ceil(np.round(found.share_rc, 9) * SHADES).astype(int)
    for shade in range(1, SHADES + 1):
        path = _path(_runs(shade_rc == shade), SIDE / rows, SIDE / columns)
        if path:
            parts.append(element("path", class_=f"seen d{shade}", d=path))
    where = "" if found.exact else " Which keys are seen depends on the tokens."
    desc = f"Map of visible pairs of {variant}: {said}.{where}"
    return element("svg", *parts, class_="tile-map", viewBox=f"0 0 {SIDE} {SIDE}", role="img", aria_label=desc)


def _runs(on_rc: np.ndarray) -> Iterable[tuple[int, int, int, int]]:
    """(row, height, first column, width) of rectangles that cover the cells: runs, with equal ones below merged."""
    open_runs: dict[tuple[int, int], int] = {}
    for row, on_c in enumerate(np.vstack([on_rc, np.zeros(on_rc.shape[1], bool)])):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], on_c, [False]]).astype(int)))
        runs = {(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)}
        for run in [run for run in open_runs if run not in runs]:
            top = open_runs.pop(run)
            yield top, row - top, run[0], run[1] - run[0]
        for run in runs:
            open_runs.setdefault(run, row)


def _path(rectangles: Iterable[tuple[int, int, int, int]], down: float, across: float) -> str:
    """Cut at the edge of the map, which the last tile may pass."""
    words = []
    for top, height, left, width in rectangles:
        x, y = px(left * across), px(top * down)
        right, below = px(min((left + width) * across, SIDE)), px(min((top + height) * down, SIDE))
        words.append(f"M{x} {y}H{right}V{below}H{x}z")  # edges, not widths: neighbours share them, without a seam
    return "".join(words)
