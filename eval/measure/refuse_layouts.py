"""What a model cannot have is refused by its description, before its weights are read."""

from __future__ import annotations

from collections.abc import Iterable

from attention.layout import LayoutSpec
from eval.measure.named_layout import named_layouts
from refmodel.specification import ModelConfig
from refmodel.weights.relayed import refuse_untrained


def refuse_layouts(specs: Iterable[LayoutSpec], config: ModelConfig, *, trained: bool, tokens: int = 0) -> None:
    """Raises `ValueError` for a layout that is none, does not fit the heads, or does not take a prompt of `tokens`.

    Of a `trained` model also for one whose layers have weights of another kind.
    """
    for layout in named_layouts(specs, config):
        changed = config.with_layout(layout.variants)
        if trained:
            refuse_untrained(config, changed)
        for mixer in layout.counts if tokens else ():
            mixer.check_prompt(tokens)
            mixer.check_steps([(0, tokens)])
