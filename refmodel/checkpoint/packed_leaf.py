"""A packed leaf of the parameter tree, filled tensor by tensor: of one coding, or of one for each layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, Final

import jax
import jax.numpy as jnp

from refmodel.checkpoint.aligned import aligned_empty
from refmodel.checkpoint.packing import Packing
from refmodel.checkpoint.placement import Placement
from refmodel.packed.by_layer import PackedByLayer
from refmodel.packed.coding import Coding
from refmodel.packed.packed import Packed, abstract_packed
from refmodel.packed.rule import outer_axes
from refmodel.tree import Leaf

_SMALL_BYTES: Final = 2**26
"""Of an expanded tensor that may be in memory beside others."""
_EXPANDED_BYTES: Final = 4
"""Of a number while it is packed."""

Coded = Sequence[tuple[Coding, Placement]]
"""The tensors that fill a leaf, and in which coding each is."""


def packed_leaf(leaf: Leaf, dtype: Any, coded: Coded, packing: Packing, pool: Executor) -> Packed | PackedByLayer:
    """The leaf; tensors are read and packed by as many threads as there are, large ones that are expanded by one.

    Raises `ValueError` where one layer's matrices are in several codings.
    """
    layers = {coding: sorted({one.index[:1] for its, one in coded if its == coding}) for coding, _ in coded}
    if len(layers) == 1:
        ((coding, _),) = layers.items()
        return _filled(leaf, leaf.stacked, dtype, coding, [one for _, one in coded], packing, pool)
    in_all = [layer for found in layers.values() for layer in found]
    if len(in_all) > len(set(in_all)):
        names = ", ".join(coding.name for coding in layers)
        raise ValueError(f"matrices of one layer of {leaf.row.path} are in {names}; accepted: one format a layer")
    stacks, which = [], dict.fromkeys(in_all, 0)
    for number, (coding, found) in enumerate(layers.items()):
        moved = [
            dataclasses.replace(one, index=(found.index(one.index[:1]), *one.index[1:]))
            for its, one in coded
            if its == coding
        ]
        stack = _filled(leaf, (len(found),), dtype, coding, moved, packing, pool)
        slots = [found.index(layer) if layer in found else 0 for layer in sorted(in_all)]
        stacks.append(dataclasses.replace(stack, slots=jnp.asarray(slots, jnp.int32)))
        which |= dict.fromkeys(found, number)
    return PackedByLayer(tuple(stacks), tuple(which[layer] for layer in sorted(in_all)))


def _filled(
    leaf: Leaf, stacked: tuple[int, ...], dtype: Any, coding: Coding, placed: Sequence[Placement], packing: Packing,
    pool: Executor,
) -> Packed:  # fmt: skip
    packed = abstract_packed(coding, (*stacked, *leaf.row.stored_shape), dtype, outer_axes(leaf.row))
    parts = {name: aligned_empty(part.shape, part.dtype) for name, part in packed.parts.items()}

    def fill_part(one: Placement) -> int:
        found = packing.parts(coding, one)
        for name, part in parts.items():
            part[one.index] = found[name]
        return parts[next(iter(parts))][one.index].size

    large = math.prod(placed[0].row.stored_shape) * _EXPANDED_BYTES > _SMALL_BYTES
    covered = sum(map(fill_part, placed) if large and packing.expands else pool.map(fill_part, placed))
    assert covered == parts[next(iter(parts))].size
    return dataclasses.replace(packed, parts=jax.device_put(parts))
