"""What `eval.bench.gpu_kernels` times: one layer's attention or one product of experts, by shape, and why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attention.kernels.matmul_tiles import MatmulTiles, matmul_tiles
from attention.kernels.target import current_target
from attention.kernels.tiles import AttentionTiles, attention_tiles
from attention.pattern import UNBOUNDED


class Skip(Exception):
    """Why a contender does not take part in a case."""


@dataclass(frozen=True)
class AttentionCase:
    """Causal prefill of `tokens` queries; `span_t` says how many keys each sees, the same for all where `routed` is
    false."""

    name: str
    tokens: int
    span_t: np.ndarray
    routed: bool = False
    n_heads: int = 32
    n_kv_heads: int = 4
    head_dim: int = 128

    @property
    def shapes(self) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """Of queries, and of keys or values."""
        sizes = ((1, self.tokens, n, self.head_dim) for n in (self.n_heads, self.n_kv_heads))
        q, kv = (jax.ShapeDtypeStruct(size, jnp.bfloat16) for size in sizes)
        return q, kv

    @property
    def flops(self) -> int:
        """4·H for each visible pair."""
        pairs = np.minimum(np.arange(1, self.tokens + 1), self.span_t).sum(dtype=np.int64)
        return 4 * self.head_dim * self.n_heads * int(pairs)

    @property
    def tiles(self) -> AttentionTiles:
        """Ours, on this device."""
        return attention_tiles(current_target(), jnp.bfloat16, self.head_dim)

    @property
    def window(self) -> int | None:
        """Keys of the window, the query's own included; None for full attention."""
        if self.routed:
            raise Skip("takes no span per query")
        return None if self.span_t[0] == UNBOUNDED else int(self.span_t[0])


@dataclass(frozen=True)
class MatmulCase:
    """Rows sorted by expert times their expert's weight [depth, width]."""

    name: str
    expert_r: np.ndarray
    experts: int
    depth: int
    width: int

    @property
    def flops(self) -> int:
        return 2 * self.expert_r.size * self.depth * self.width

    @property
    def tiles(self) -> MatmulTiles:
        """Ours, on this device."""
        return matmul_tiles(current_target(), jnp.bfloat16, self.expert_r.size, self.experts, self.depth)

    @property
    def group_sizes(self) -> np.ndarray:
        """Rows of each expert."""
        return np.bincount(self.expert_r, minlength=self.experts)


Contender = tuple[Callable[..., Any], Callable[..., tuple]]
"""A call, and what makes its inputs from the case's."""
