"""A stack whose layers are packed in several codings, as files of mixed precision have them (llama.cpp's Q4_K_M).

Which of them a layer has is known only inside the loop over layers, so a product is compiled once for each combination
of codings that occurs among its stacks, and the layer picks its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from refmodel.packed.packed import Packed

T = TypeVar("T")


@partial(jax.tree_util.register_dataclass, data_fields=["stacks"], meta_fields=["which"])
@dataclass(frozen=True)
class PackedByLayer:
    """Layers of one parameter, those of a coding stacked together.

    Attributes:
        stacks: one for each coding, [layers that have it, ...], with their `slots`.
        which: of each layer, in which of the stacks it is.
    """

    stacks: tuple[Packed, ...]
    which: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the layers together."""
        return (len(self.which), *self.stacks[0].shape[1:])

    @property
    def dtype(self) -> Any:
        """What they are multiplied in."""
        return self.stacks[0].dtype


def by_coding(stacks: Sequence[Any], layer: jax.Array, product: Callable[[tuple[Any, ...]], T]) -> T:
    """product(stacks) for stacks [L, ...] of which some are `PackedByLayer`: then for those that the layer has."""
    mixed = [stack for stack in stacks if isinstance(stack, PackedByLayer)]
    if not mixed:
        return product(tuple(stacks))
    taken = list(zip(*(stack.which for stack in mixed), strict=True))
    combinations = sorted(set(taken))

    def of(combination: tuple[int, ...]) -> T:
        chosen = iter(combination)
        return product(tuple(s.stacks[next(chosen)] if isinstance(s, PackedByLayer) else s for s in stacks))

    which = jnp.asarray([combinations.index(one) for one in taken])[layer]
    return lax.switch(which, [partial(of, combination) for combination in combinations])
