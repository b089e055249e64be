"""What the page shows first: what each layout loses for its time, and where attention becomes the larger part."""

from __future__ import annotations

from eval.report.page.figure import Context
from eval.report.page.figures.cost import wall_panel
from eval.report.page.figures.pareto import KL, loss_panel
from eval.report.page.markup import Markup, element
from eval.report.trades import trades

WALL = (
    "The wall stands where a layout's attention meets the linear layers: beyond it attention is the larger part. Times "
    "are medians on their range; each point says of how many samples."
)


def glance(context: Context, prefix: str) -> Markup:
    """Quality against time and the wall, side by side over what they show; empty where neither was measured."""
    found, wall = (
        trades(context.summary),
        context.lengths and wall_panel(context, "The wall: attention and linear layers"),
    )
    quality = found and loss_panel(context, found, KL, "Quality against time")
    panels = [panel for panel in (quality, wall) if panel]
    told = [words for words in (found and found.told, wall and WALL) if words]
    if not panels:
        return Markup("")
    return element(
        "figure", element("div", *panels, class_=f"panels {'wide' if panels[1:] else 'one'}"),
        element("p", " ".join(told), class_="note"), id=f"{prefix}glance", aria_label="At a glance",
    )  # fmt: skip
