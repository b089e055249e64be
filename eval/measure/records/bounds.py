"""What a number in a record can be at all: outside, no clock, counter or model gave it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from eval.quality.text_quality import MOST_KL_NATS, MOST_PERPLEXITY

MOST_TOKENS: Final = 2**31 - 2
"""Positions and their number are int32."""

MOST_BATCH: Final = 2**20
"""Prompts at once."""

MOST_MS: Final = 1e12
"""Thirty years."""

MOST_FLOPS: Final = 10**24
"""Of one prefill; an hour of the largest machines."""

BOUNDS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "tokens": (1, MOST_TOKENS),
        "batch": (1, MOST_BATCH),
        "cores": (1, 2**20),
        "calls_per_sample": (1, MOST_TOKENS),
        "count": (1, 2**20),
        "first": (0, MOST_TOKENS),
        "last": (0, MOST_TOKENS),
        "samples_ms": (1e-9, MOST_MS),
        "ms": (0, MOST_MS),
        "perplexity": (1e-300, MOST_PERPLEXITY),
        "kl_nats": (-1, MOST_KL_NATS),  # rounding takes it below 0
        "kl_p99_nats": (-1, MOST_KL_NATS),
        "first_departure": (1, MOST_TOKENS),
        "top1_agreement": (0, 1),
    }
)
"""Least and most, by the last word of a field's path."""

_ANY: Final = (-(2.0**63), 2.0**63)


def check_number(name: str, value: float) -> None:
    """Raises `ValueError` that names the field `name`, a path with dots, and what is wanted there."""
    least, most = _bounds(name)
    try:
        within = math.isfinite(value) and least <= value <= most
    except OverflowError:  # more digits than a float has
        within = False
    if not within:
        raise ValueError(f"{name} must be at least {_shown(least)} and at most {_shown(most)}, got {_shown(value)}")


def _bounds(name: str) -> tuple[float, float]:
    if name.startswith("flops."):
        return 0, MOST_FLOPS
    word = re.sub(r"\[\d+\]$", "", name).rpartition(".")[2]
    if word.endswith("_bytes"):
        return 0, 2**63
    if word.endswith("_ms") and word not in BOUNDS:
        return 0, MOST_MS
    return BOUNDS.get(word, _ANY)


def _shown(value: float) -> str:
    text = repr(value)
    return text if len(text) < 24 else f"{text[:12]}... ({len(text)} digits)"
