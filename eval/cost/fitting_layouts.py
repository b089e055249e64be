"""Which layouts a model can have: those whose spans suit its heads, and files with an entry for each layer."""

from __future__ import annotations

from collections.abc import Iterable

from refmodel.specification import ModelConfig


def fitting_layouts(model: ModelConfig, layouts: Iterable[str]) -> tuple[dict[str, ModelConfig], list[str]]:
    """The model under each layout that it can have, and the layouts that it cannot."""
    fitting: dict[str, ModelConfig] = {}
    left_out: list[str] = []
    for layout in layouts:
        try:
            fitting[layout] = model.with_layout(layout)
        except ValueError:
            left_out.append(layout)
    return fitting, left_out
