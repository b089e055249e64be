"""The atlas as a picture: what a token costs against the length of its prompt, a line a model, its crossover marked."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from eval.cost.atlas import Place, cost_per_token
from eval.report.atlas_strip import LENGTHS
from eval.report.palette import LIGHT, MARKERS

STYLES: Final = ("-", "--", ":", "-.")
"""Of lines whose colours repeat."""


def draw_atlas(places: Sequence[Place], lengths: Sequence[int] = LENGTHS) -> Figure:
    """GFLOP a token over tokens, both logarithmic."""
    figure = Figure(figsize=(9, 0.22 * len(places) + 4.2), layout="constrained")
    axes = figure.subplots()
    for i, one in enumerate(places):
        colour, marker = LIGHT[i % len(LIGHT)], MARKERS[i % len(MARKERS)]
        style = STYLES[i // len(LIGHT) % len(STYLES)]
        crossed = one.crossings.first
        name = f"{one.model.name}: {f'{crossed:,}' if crossed else 'none'}"
        costs = [cost_per_token(one.model, n) / 1e9 for n in lengths]
        axes.plot(lengths, costs, style, color=colour, marker=marker, markevery=[], linewidth=1.2, label=name)
        if crossed and lengths[0] <= crossed <= lengths[-1]:
            axes.plot([crossed], [cost_per_token(one.model, crossed) / 1e9], marker, color=colour, markersize=6)
    axes.set(xscale="log", yscale="log", xlabel="prompt length N (tokens)", ylabel="GFLOP a token of the prompt")
    axes.xaxis.set_major_formatter(lambda n, _: f"{n:,.0f}")
    axes.grid(which="major", alpha=0.3)
    figure.suptitle("Where attention overtakes the linear layers (marked; tokens in the legend)")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def save_atlas(path: Path, places: Sequence[Place], table: Sequence[Sequence[str]] = ()) -> None:
    """Writes the figure as the suffix says; html is a page of its own with the table, whose first line is its head."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = draw_atlas(places)
    if path.suffix != ".html":
        figure.savefig(path, dpi=150)
        return
    picture = io.StringIO()
    figure.savefig(picture, format="svg")
    svg = picture.getvalue()
    lines = (
        "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line) + "</tr>"
        for tag, line in zip(("th", *("td",) * len(table)), table, strict=False)
    )
    path.write_text(_PAGE.format(svg=svg[svg.index("<svg") :], table="\n".join(lines)), encoding="utf-8")


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>prefillwall atlas</title>
<style>body {{ font: 14px system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }}
svg {{ max-width: 100%; height: auto }} table {{ border-collapse: collapse }}
th, td {{ padding: 0.2em 0.8em; text-align: right }} th:first-child, td:first-child {{ text-align: left }}</style>
</head><body><h1>Where attention overtakes the linear layers</h1>
{svg}
<table>{table}</table></body></html>
"""
