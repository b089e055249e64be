"""Rules by which a query chooses blocks of keys on any checkpoint, from what that query alone sees.

Published rules look at all queries of a block at once, the later ones too, so that what an early query reads depends on
what follows it and on where a prompt is cut.  These keep their scores and are causal: other rules, by other names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import jax
import jax.numpy as jnp

from attention.parameters import Part
from attention.registry import Registry


@dataclass(frozen=True)
class BlockRule(Part):
    """Base: a subclass says which keys stand for a block.

    A query's logits q·k / sqrt(H) with those of all blocks before its own become probabilities; a block's score is the
    sum of its own, over the query heads of a key-value head.

    Attributes:
        sinks: the first blocks, which every query reads.
        window: the last blocks, a query's own among them, which it reads too.
    """

    sinks: int = 1
    window: int = 1

    def __post_init__(self) -> None:
        for field, least in (("sinks", 0), ("window", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"the rule {self.name}: {field} must be at least {least}, got {getattr(self, field)}")

    def check(self, block: int) -> None:
        """Raises `ValueError` for a size of blocks that it cannot take."""

    def per_block(self, block: int) -> int:
        """Keys that stand for a block, for one query: P."""
        raise NotImplementedError

    def compared(self, k_bkcsh: jax.Array) -> jax.Array:
        """[R, B, K, C, P, H]: what stands for each of C blocks; a query at position p is compared with R - 1 - p mod R.

        Args:
            k_bkcsh: the keys of the blocks, rotary positions applied.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class CausalFlash(BlockRule):
    """`causal_flash`: the mean key stands for a block, as in FlashPrefill (2603.06199).

        p[n, c] = softmax over the blocks c before a query's own of q_n · mean of the keys of c / sqrt(H)

    FlashPrefill sums over the queries of a block, and takes what passes a share of the greatest score.
    """

    name = "causal_flash"

    sinks: int = 2
    window: int = 4

    def per_block(self, block: int) -> int:
        return 1

    def compared(self, k_bkcsh: jax.Array) -> jax.Array:
        return k_bkcsh.astype(jnp.float32).mean(3)[None, ..., None, :]


@dataclass(frozen=True)
class CausalAntidiagonal(BlockRule):
    """`causal_antidiagonal`: every `stride`-th key stands for a block, as in XAttention (2503.16428).

        p[n, s] = softmax over s before the block of query t, (t + s) mod stride = stride - 1, of q_n · k_s / sqrt(H)

    XAttention takes the mean logit of an antidiagonal, a pair of each of `stride` queries, and blocks up to a share of
    the probability.
    """

    name = "causal_antidiagonal"

    stride: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride < 1:
            raise ValueError(f"the rule {self.name}: stride must be at least 1, got {self.stride}")

    def check(self, block: int) -> None:
        if block % self.stride:
            raise ValueError(f"the rule {self.name}: stride {self.stride} does not divide blocks of {block}")

    def per_block(self, block: int) -> int:
        return block // self.stride

    def compared(self, k_bkcsh: jax.Array) -> jax.Array:
        b, k, c, _, h = k_bkcsh.shape
        return jnp.moveaxis(k_bkcsh.reshape(b, k, c, -1, self.stride, h), 4, 0)


BLOCK_RULES: Final[Registry[type[BlockRule]]] = Registry(
    "block rule", lambda rule: rule.name, (CausalFlash, CausalAntidiagonal)
)
"""The rules that a layout can name; one of your own comes in by `attention.register`."""
