"""What a scaling makes of the rotary frequencies theta^(-2i/H), i < H/2: how models go beyond the length of training.

Each kind is a frozen description; what it gives is the frequencies, in float64, and a factor of cos and sin.  Two
kinds depend on the length of the sequence: `at_length` makes them one that does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


def plain_frequencies(theta: float, head_dim: int) -> np.ndarray:
    """theta^(-2i/H), [H/2] in float64."""
    return theta ** (-np.arange(0, head_dim, 2) / head_dim)


@dataclass(frozen=True)
class Scaling:
    """Base of the kinds."""

    @property
    def attention_factor(self) -> float:
        """What cos and sin are multiplied with, so that scores have its square."""
        return 1.0

    def frequencies(self, theta: float, head_dim: int) -> np.ndarray:
        """[H/2] in float64.  Raises `ValueError` where they depend on a length that is not known."""
        raise NotImplementedError

    def at_length(self, total_tokens: int) -> Scaling:
        """The scaling of sequences of `total_tokens`."""
        return self


@dataclass(frozen=True)
class NoPositions(Scaling):
    """No rotation: a layer without positions (NoPE, 2305.19466)."""

    def frequencies(self, theta: float, head_dim: int) -> np.ndarray:
        return np.zeros(head_dim // 2)


@dataclass(frozen=True)
class Proportional(Scaling):
    """The first `turning` of the H/2 frequencies, divided by `factor`; the others are 0 (Gemma 4's p-RoPE)."""

    turning: int
    factor: float = 1.0

    def frequencies(self, theta: float, head_dim: int) -> np.ndarray:
        turns_h = np.arange(head_dim // 2) < self.turning
        return np.where(turns_h, plain_frequencies(theta, head_dim) / self.factor, 0)


@dataclass(frozen=True)
class Linear(Scaling):
    """All frequencies divided by `factor`: positions interpolated (2306.15595)."""

    factor: float
    attention_factor: float = 1.0

    def frequencies(self, theta: float, head_dim: int) -> np.ndarray:
        return plain_frequencies(theta, head_dim) / self.factor


@dataclass(frozen=True)
class Divided(Scaling):
    """Each frequency divided by its own of the H/2 `factors`."""

    factors: tuple[float, ...]
    attention_factor: float = 1.0

    def frequencies(self, theta: float, head_dim: int) -> np.ndarray:
        return plain_frequencies(theta, head_dim) / np.array(self.factors)


@dataclass(frozen=True)
class Stretched(Scaling):
    """theta · stretch^(H/(H-2)) instead of theta: the lowest frequency is divided by `stretch`, the highest stays."""

    stretch: float

    def frequencies(self, theta: float, head_dim: int) -> np.ndarray:
        if head_dim <= 2:
            raise ValueError(f"dynamic positions need a head size above 2, got {head_dim}")
        return plain_frequencies(theta * self.stretch ** (head_dim / (head_dim - 2)), head_dim)


@dataclass(frozen=True)
class Dynamic(Scaling):
    """`Stretched` by factor · N / max_positions - (factor - 1) for sequences of N > max_positions tokens."""

    factor: float
    max_positions: int

    def frequencies(self, theta: float, head_dim: int) -> np.ndarray:
        raise _unsettled("dynamic")

    def at_length(self, total_tokens: int) -> Scaling:
        longer = max(total_tokens, self.max_positions) / self.max_positions
        return Stretched(self.factor * longer - (self.factor - 1))


@dataclass(frozen=True)
class LongRope(Scaling):
    """`Divided` by the `long` factors for sequences beyond `original_positions`, else by the `short` (2402.13753)."""

    short: tuple[float, ...]
    long: tuple[float, ...]
    original_positions: int
    attention_factor: float = 1.0

    def frequencies(self, theta: float, head_dim: int) -> np.ndarray:
        raise _unsettled("longrope")

    def at_length(self, total_tokens: int) -> Scaling:
        factors = self.long if total_tokens > self.original_positions else self.short
        return Divided(factors, self.attention_factor)


@dataclass(frozen=True)
class Llama3(Scaling):
    """Llama 3.1: low frequencies divided by `factor`, high ones kept, a straight line between.

    A frequency is low that turns fewer than `low` times within `original_positions`, high from `high` times on.
    """

    factor: float
    low: float
    high: float
    original_positions: int

    def frequencies(self, theta: float, head_dim: int) -> np.ndarray:
        frequency_h = plain_frequencies(theta, head_dim)
        turns_h = self.original_positions * frequency_h / (2 * math.pi)
        kept_h = np.clip((turns_h - self.low) / (self.high - self.low), 0, 1)
        return frequency_h * (kept_h + (1 - kept_h) / self.factor)


@dataclass(frozen=True)
class Yarn(Scaling):
    """YaRN (2309.00071): as `Llama3`, the line drawn over the index i of the frequency, and a factor of attention.

    Attributes:
        fast, slow: turns within `original_positions` from which on, and up to which, the line runs.
        truncate: whether the line's ends are whole numbers.
    """

    factor: float
    original_positions: int
    attention_factor: float = 1.0
    fast: float = 32.0
    slow: float = 1.0
    truncate: bool = True

    def frequencies(self, theta: float, head_dim: int) -> np.ndarray:
        if theta <= 1:
            raise ValueError(f"yarn positions need a base (theta) above 1, got {theta}")
        frequency_h = plain_frequencies(theta, head_dim)
        first, last = (self._index(turns, theta, head_dim) for turns in (self.fast, self.slow))
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, head_dim - 1)
        if first == last:
            last += 0.001
        scaled_h = np.clip((np.arange(head_dim // 2) - first) / (last - first), 0, 1)
        return frequency_h * (1 - scaled_h + scaled_h / self.factor)

    def _index(self, turns: float, theta: float, head_dim: int) -> float:
        """Of the frequency that turns so often within `original_positions`, as a real number."""
        return head_dim * math.log(self.original_positions / (turns * 2 * math.pi)) / (2 * math.log(theta))


def yarn_attention(factor: float, mscale: float = 1.0) -> float:
    """0.1 · mscale · ln(factor) + 1, YaRN's factor of attention; 1 where nothing is stretched."""
    return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0


def longrope_attention(factor: float, original_positions: int) -> float:
    """(1 + ln(factor) / ln(original_positions))^(1/2), LongRoPE's; 1 where nothing is stretched."""
    if original_positions <= 1:
        raise ValueError(
            f"longrope needs an attention factor, or an original context above 1, got {original_positions}"
        )
    return math.sqrt(1 + math.log(factor) / math.log(original_positions)) if factor > 1 else 1.0


def _unsettled(kind: str) -> ValueError:
    return ValueError(f"{kind} positions depend on the length of the sequence: take the model `at_length` first")
