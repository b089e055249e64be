"""One model of the atlas in one line of a terminal."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import Final

from eval.cost.crossover import attention_share
from refmodel.specification import ModelConfig

LENGTHS: Final = tuple(1 << power for power in range(10, 21))
"""1,024 to 1,048,576 tokens."""
SHADES: Final = "·░▒▓█"
"""Of attention's share: below each of `BOUNDS`, and above."""
BOUNDS: Final = (0.10, 0.25, 0.50, 0.75)


def strip(model: ModelConfig, lengths: Sequence[int] = LENGTHS) -> str:
    """A shade for attention's share of a prompt's FLOPs at each length.

    Examples:
        >>> from eval.report.atlas_strip import strip
        >>> from refmodel.presets import preset
        >>> strip(preset("qwen3-30b-a3b"))
        '·░░▒▓▓█████'
    """
    return "".join(SHADES[bisect(BOUNDS, attention_share(model, tokens))] for tokens in lengths)
