"""What a layout loses on a text, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_PERPLEXITY: Final = 1e300
MOST_KL_NATS: Final = 1e9
"""That a record takes: what is above is nothing that a model says."""


@dataclass(frozen=True)
class Stretch:
    """Over the predictions of tokens first..last of the text."""

    first: int
    last: int
    perplexity: float
    kl_nats: float


@dataclass(frozen=True)
class TextQuality:
    """Over a text read in one pass (stride = length).

    Attributes:
        perplexity: exp(mean negative log likelihood of the next token).
        kl_nats: mean KL(full attention || variant) of the next-token distributions.
        top1_agreement: share of tokens where both would choose the same next token.
        by_position: the same along the text: a window hurts only beyond its length.
    """

    perplexity: float
    kl_nats: float
    top1_agreement: float
    by_position: tuple[Stretch, ...]
