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
class Interval:
    """Where 90 % of what the same text gives by its blocks lies: `eval.quality.bootstrap`."""

    low: float
    high: float


@dataclass(frozen=True)
class TextSpread:
    """What means over a text do not say.

    Attributes:
        kl_p99_nats: the divergence that one token of a hundred passes.
        first_departure: the first token, numbered as stretches are, at which another next token is likeliest than
            under full attention; None where there is none.
        perplexity, perplexity_change, kl_nats: intervals; the change is that over full attention's perplexity, of the
            same blocks.  None where at most 960 tokens are predicted, 15 blocks of 64.
    """

    kl_p99_nats: float
    first_departure: int | None = None
    perplexity: Interval | None = None
    perplexity_change: Interval | None = None
    kl_nats: Interval | None = None


@dataclass(frozen=True)
class TextQuality:
    """Over a text read in one pass (stride = length).

    Attributes:
        perplexity: exp(mean negative log likelihood of the next token).
        kl_nats: mean KL(full attention || variant) of the next-token distributions.
        top1_agreement: share of tokens where both would choose the same next token.
        by_position: the same along the text: a window hurts only beyond its length.
        spread: how the tokens differ; None in records of before.
    """

    perplexity: float
    kl_nats: float
    top1_agreement: float
    by_position: tuple[Stretch, ...]
    spread: TextSpread | None = None
