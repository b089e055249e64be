"""The shape of a model: one frozen description for Qwen3-MoE, dense Qwen3 and the Llama shape."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from attention.cost import Heads
from attention.full import Full
from attention.layout import Layout, LayoutSpec, parse_layout

BlockKind = Literal["dense", "moe"]


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only transformer.

    Attributes:
        n_layers, d_model, n_heads, n_kv_heads, head_dim, vocab_size: L, D, N, K, H and V.
        d_ff: F of the dense layers.
        n_experts, experts_per_token, d_expert: E, experts that a token uses, and F of one expert; 0 without experts.
        norm_topk_prob: whether the chosen experts' probabilities are renormalised to sum to 1.
        mlp_only_layers, decoder_sparse_step: layer l has experts iff it is not listed and (l + 1) % step == 0.
        qk_norm: RMSNorm over the head dimension of queries and keys (Qwen3).
        tied_head: the head is the embedding, transposed.
        layout: the attention variant of each layer; empty means full attention everywhere.
    """

    name: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab_size: int
    d_ff: int = 0
    n_experts: int = 0
    experts_per_token: int = 0
    d_expert: int = 0
    norm_topk_prob: bool = True
    mlp_only_layers: tuple[int, ...] = ()
    decoder_sparse_step: int = 1
    qk_norm: bool = True
    tied_head: bool = False
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    max_positions: int = 40_960
    layout: Layout = ()

    def __post_init__(self) -> None:
        if not self.layout:
            object.__setattr__(self, "layout", (Full(),) * self.n_layers)
        sizes = ("n_layers", "d_model", "n_heads", "n_kv_heads", "head_dim", "vocab_size", "decoder_sparse_step")
        for size in sizes:
            if getattr(self, size) < 1:
                raise ValueError(f"{self.name}: {size} must be at least 1, got {getattr(self, size)}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"{self.name}: n_heads {self.n_heads} is not a multiple of n_kv_heads {self.n_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"{self.name}: head_dim must be even for rotary positions, got {self.head_dim}")
        if len(self.layout) != self.n_layers:
            raise ValueError(f"{self.name}: layout has {len(self.layout)} entries for {self.n_layers} layers")
        if self.n_experts and not 1 <= self.experts_per_token <= self.n_experts:
            raise ValueError(
                f"{self.name}: experts_per_token must be in 1..{self.n_experts}, got {self.experts_per_token}"
            )
        for kind, width in (("dense", "d_ff"), ("moe", "d_expert")):
            if kind in self.block_kinds and getattr(self, width) < 1:
                raise ValueError(f"{self.name}: {width} must be at least 1 for its {kind} layers")
        for variant in dict.fromkeys(self.layout):
            variant.check(self.heads)

    @property
    def block_kinds(self) -> tuple[BlockKind, ...]:
        """Whether each layer's feed-forward is dense or a mixture of experts."""
        return tuple(
            "moe"
            if self.n_experts and layer not in self.mlp_only_layers and (layer + 1) % self.decoder_sparse_step == 0
            else "dense"
            for layer in range(self.n_layers)
        )

    @property
    def group_size(self) -> int:
        """G = N / K: query heads that share a key-value head."""
        return self.n_heads // self.n_kv_heads

    @property
    def heads(self) -> Heads:
        """What the attention variants need to know."""
        return Heads(self.n_heads, self.n_kv_heads, self.head_dim, self.d_model)

    def at_length(self, total_tokens: int) -> ModelConfig:
        """The same model for sequences of up to `total_tokens`: spans that depend on the length become numbers."""
        layout = tuple(variant.at_length(total_tokens) for variant in self.layout)
        return self if layout == self.layout else dataclasses.replace(self, layout=layout)

    def with_layout(self, spec: LayoutSpec) -> ModelConfig:
        """The same model with other attention; see `attention.layout` for the spelling."""
        return dataclasses.replace(self, layout=parse_layout(spec, self.n_layers))
