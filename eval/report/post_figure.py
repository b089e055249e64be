"""The post's figure: two squares per prompt length, linear and attention, of area proportional to FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eval.cost.crossover import attention_total, linear_params
from refmodel.specification import ModelConfig

LINEAR_COLOUR, ATTENTION_COLOUR = "#d97706", "#2563eb"


def square_sides(flops: Sequence[int], largest: int) -> list[float]:
    """Sides of squares whose areas are to each other as the FLOPs, where `largest` has side 1."""
    return [(one / largest) ** 0.5 for one in flops]


def draw_squares(models: Sequence[ModelConfig], lengths: Sequence[int]) -> Figure:
    """One row per layout, one panel per length; the panels of a length share a scale, so that rows compare."""
    figure = Figure(figsize=(3 * len(lengths), 1.75 * len(models) + 0.6), layout="constrained")
    panels = figure.subplots(len(models), len(lengths), squeeze=False)
    for column, tokens in enumerate(lengths):
        counts = [_counts(model, tokens) for model in models]
        largest = max(max(count) for count in counts)
        for line, (model, count) in enumerate(zip(models, counts, strict=True)):
            title = f"N = {tokens:,}" if line == 0 else ""
            _panel(panels[line][column], count, largest, title, model.layout_name if column == 0 else "")
    figure.suptitle(f"{models[0].name}: linear (orange) and attention (blue), area = FLOPs of a prefill")
    return figure


def save_squares(path: Path, models: Sequence[ModelConfig], lengths: Sequence[int]) -> None:
    """Writes the figure as the suffix says (png, svg, pdf)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_squares(models, lengths).savefig(path, dpi=150)


def _counts(model: ModelConfig, tokens: int) -> tuple[int, int]:
    """Linear FLOPs of the layers, exact visible attention FLOPs."""
    return 2 * linear_params(model) * tokens, int(attention_total(model, tokens))


def _panel(axes: Axes, count: tuple[int, int], largest: int, title: str, label: str) -> None:
    sides = square_sides(count, largest)
    captions = (f"{count[0]:.2g}", f"{count[1]:.2g} ({count[1] / sum(count):.0%})")
    for left, side, colour, caption in zip((0, 1.1), sides, (LINEAR_COLOUR, ATTENTION_COLOUR), captions, strict=True):
        axes.add_patch(Rectangle((left, 0), side, side, color=colour, linewidth=0))
        axes.text(left, -0.06, caption, va="top", fontsize=8)
    axes.set(xlim=(-0.05, 2.15), ylim=(-0.2, 1.05), aspect="equal", xticks=[], yticks=[], title=title, ylabel=label)
    for spine in axes.spines.values():
        spine.set_visible(False)
