"""What a layer's attention costs in one step: pairs, and the FLOPs of choosing them.

`useful` counts what a variant's definition asks for, `executed` what this project's program runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from attention.backends.registry import counted_as
from attention.pattern import SpanPattern, cache_tokens, holds_everything


@dataclass(frozen=True)
class Heads:
    """What attention needs to know of a model: N, K, H and D (0 where no router reads the layer's input)."""

    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_model: int = 0


class Depth(NamedTuple):
    """Which layer, an int (or an int32 scalar in a program), and of how many: for what differs from layer to layer."""

    layer: Any
    n_layers: int


ONLY_LAYER: Final = Depth(0, 1)


class Cost(NamedTuple):
    """Pairs of (query, key), all query heads, at 4·H FLOPs each; FLOPs of the products that chose them: routers, gates,
    scores; and FLOPs of products with a recurrent state, which are no pairs.  Sorting, packing and compaction are no
    products: they show in the measured time only."""

    pairs: int
    selection_flops: int = 0
    state_flops: int = 0

    def mixing_flops(self, heads: Heads) -> int:
        """Scores and values, or what a mixer has in their place."""
        return 4 * heads.head_dim * self.pairs + self.state_flops

    def flops(self, heads: Heads) -> int:
        """All of it, selection too."""
        return self.mixing_flops(heads) + self.selection_flops


def executed_span_pairs(
    pattern: SpanPattern, heads: Heads, tokens: int, start: int, capacity: int, impl: str = "auto"
) -> int:
    """Pairs that `attend` computes in one step under a static pattern."""
    q_pos_t, kv_pos_s = step_positions(pattern, tokens, start, capacity)
    backend = counted_as(impl, q_pos_t.size, kv_pos_s.size)
    return backend.executed_pairs(pattern, heads.n_heads, heads.n_kv_heads, q_pos_t, kv_pos_s)


def step_positions(pattern: SpanPattern, tokens: int, start: int, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a step's queries and of the slots that they attend to, -1 for an empty one.

    As a model's cache lays them out when each step follows the one before: the first attends to its own tokens; later
    a layer that can hold the whole sequence attends to its cache, a bounded one to [what it kept, its own tokens].
    """
    end = start + tokens
    own = np.arange(start, end, dtype=np.int32)
    if start == 0:
        return own, own
    slots = cache_tokens(pattern, capacity)
    if holds_everything(pattern, slots):
        seen = np.full(slots, -1, np.int32)
        seen[:end] = np.arange(end)
        return own, seen
    kept = np.full(slots, -1, np.int32)
    before = np.arange(start, dtype=np.int32)
    needed = before[(before < max(pattern.sink)) | (before > start - max(pattern.span))]
    kept[: needed.size] = needed
    return own, np.concatenate([kept, own])
