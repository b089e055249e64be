"""What a layer is put together from, beside its mixer: norms, rotary positions, feed-forwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Activation = Literal["silu", "gelu_tanh"]


@dataclass(frozen=True)
class Norm:
    """RMSNorm, x / sqrt(mean(x²) + eps) · (offset + scale), before attention and before the feed-forward.

    Attributes:
        offset: 1 where the stored scale is what the factor exceeds 1 by (Gemma), else 0.
        after: whether what attention and the feed-forward put out is normed too, before it is added (Gemma's four).
    """

    eps: float = 1e-6
    offset: float = 0.0
    after: bool = False


@dataclass(frozen=True)
class Rope:
    """Rotary positions: angles position / factor · theta^(-2i/H); a `factor` above 1 is linear scaling."""

    theta: float = 10_000.0
    factor: float = 1.0


@dataclass(frozen=True)
class Dense:
    """(activation(x·gate) * x·up)·down, of width F = `d_ff`."""

    d_ff: int
    activation: Activation = "silu"

    @property
    def kind(self) -> str:
        return "dense"


@dataclass(frozen=True)
class Experts:
    """A mixture of E = `n_experts` SwiGLUs of width F = `d_expert`, of which a token uses `experts_per_token`.

    `norm_topk_prob`: whether the chosen experts' probabilities are renormalised to sum to 1.
    """

    n_experts: int
    experts_per_token: int
    d_expert: int
    norm_topk_prob: bool = True

    @property
    def kind(self) -> str:
        return "moe"


FeedForward = Dense | Experts
