"""What a layer is put together from, beside its mixer: norms, rotary positions, feed-forwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from refmodel.rope_scaling import Scaling, plain_frequencies


@dataclass(frozen=True)
class ClampedSwish:
    """gpt-oss's (2508.10925): min(gate, limit) · sigmoid(slope · min(gate, limit)) times 1 + up clamped to ±limit."""

    slope: float = 1.702
    limit: float = 7.0


Activation = Literal["silu", "gelu_tanh"] | ClampedSwish
"""What a gate and what it gates become (`refmodel.gating`): activation(gate) · up, `ClampedSwish` as it says."""


@dataclass(frozen=True)
class Norm:
    """RMSNorm, x / sqrt(mean(x²) + eps) · (offset + scale), before attention and before the feed-forward.

    Attributes:
        offset: 1 where the stored scale is what the factor exceeds 1 by (Gemma), else 0.
        after: whether what attention and the feed-forward put out is normed too, before it is added (Gemma's four).
        wide: whether x is rounded to its own precision after it is scaled, as with an offset, and not before (Gemma).
    """

    eps: float = 1e-6
    offset: float = 0.0
    after: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Rope:
    """Rotary positions: angles position · theta^(-2i/H), or what a `scaling` makes of those frequencies.

    `share` of a head's size is rotated, its first dimensions, as if they were the whole head.
    """

    theta: float = 10_000.0
    scaling: Scaling | None = None
    share: float = 1.0

    def at_length(self, total_tokens: int) -> Rope:
        """The positions of sequences of `total_tokens`."""
        return self if self.scaling is None else Rope(self.theta, self.scaling.at_length(total_tokens), self.share)

    def rotated(self, head_dim: int) -> int:
        """Dimensions of a head that are rotated."""
        return int(self.share * head_dim)

    def frequencies(self, head_dim: int) -> np.ndarray:
        """[H/2], of the dimensions that are rotated, in float64.

        Raises `ValueError` where they depend on the length, before `at_length`.
        """
        rotated = self.rotated(head_dim)
        if self.scaling is None:
            return plain_frequencies(self.theta, rotated)
        return self.scaling.frequencies(self.theta, rotated)

    @property
    def attention_factor(self) -> float:
        """What cos and sin are multiplied with."""
        return 1.0 if self.scaling is None else self.scaling.attention_factor


@dataclass(frozen=True)
class Dense:
    """(activation(x·gate) * x·up)·down, of width F = `d_ff`; each of the three products may have a `bias`."""

    d_ff: int
    activation: Activation = "silu"
    bias: bool = False

    @property
    def kind(self) -> str:
        return "dense"


@dataclass(frozen=True)
class Experts:
    """A mixture of E = `n_experts` gated feed-forwards of width F = `d_expert`; a token uses `experts_per_token`.

    Attributes:
        norm_topk_prob: whether the chosen experts' probabilities are renormalised to sum to 1, which is a softmax over
            the chosen logits.
        activation: of each expert's gate.
        bias: whether the router and each product of each expert have one.
        d_shared: width of one more, which every token meets, weighted with the sigmoid of a product of its own; 0 for
            none.
        beside: a dense feed-forward that every token meets too, each of the two between norms of its own (Gemma 4:
            `refmodel.feed_forward`); None for none.
    """

    n_experts: int
    experts_per_token: int
    d_expert: int
    norm_topk_prob: bool = True
    activation: Activation = "silu"
    bias: bool = False
    d_shared: int = 0
    beside: Dense | None = None

    @property
    def kind(self) -> str:
        return "moe"


FeedForward = Dense | Experts
