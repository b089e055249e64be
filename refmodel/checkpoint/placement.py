"""From stored tensors to the parameter tree: one list of placements.

Checkpoints store a matrix as [out, in] with the heads fused into one axis; the tree holds [in, out] with the heads
split.  A placement says which stored tensor goes to which part of which leaf:

    "model.layers.7.self_attn.q_proj.weight" [N*H, D]  ->  "blocks.dense.attn.q" [L, D, N, H] at (7,)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from refmodel.parameters import Parameter
from refmodel.specification import ModelConfig
from refmodel.tree import Leaf, model_leaves

Shape = tuple[int, ...]

_SPARE: Final = 1_000
"""Tensors that may lack in any case: the first of them is named."""


def whole(stored: np.ndarray) -> np.ndarray:
    """What a placement picks of the plain matrix: all of it."""
    return stored


@dataclass(frozen=True)
class Placement:
    """One stored tensor `name` of `shape`, and the part `leaf[index]` that it fills, whose row of the table is `row`.

    `pick` takes the leaf's share out of a stored tensor that is not the plain [out, in] matrix; `picks_rows` says that
    it leaves rows, the last axis, as they are.  `put` is the other way, where `pick` gives no view to be written to;
    `written_as` is the type that it is written in, where that is not the leaf's.
    """

    name: str
    shape: Shape
    leaf: str
    index: tuple[int, ...]
    row: Parameter
    pick: Callable[[np.ndarray], np.ndarray] = whole
    picks_rows: bool = True
    put: Callable[[np.ndarray, np.ndarray], None] | None = None
    written_as: type[np.generic] | None = None

    def write(self, stored: np.ndarray, own: np.ndarray) -> None:
        """Writes what the placement is of, `own` with the row's axes, into the stored tensor: what `pick` takes out."""
        part = self.row.to_stored(own)
        if self.put:
            self.put(stored, part)
        else:
            self.pick(stored)[...] = part


def placements(
    config: ModelConfig, stored_name: Callable[[Parameter], str], stored: int, where: str
) -> list[Placement]:
    """A placement for every tensor that the checkpoint of a model stores.

    Args:
        stored_name: the name of a row's tensor, with `{layer}` for the layer's number and, where experts are stored one
            by one, `{expert}`; empty for what it does not store.
        stored: tensors that the checkpoint `where` has.

    Raises `ValueError` before the list is made, where the description asks for far more than there are.
    """
    leaves = {path: leaf for path, leaf in model_leaves(config).items() if stored_name(leaf.row)}
    asked = sum(_count(leaf, stored_name(leaf.row)) for leaf in leaves.values())
    if asked > 2 * stored + _SPARE:
        raise ValueError(f"{where} has {stored:,} tensors; the model that it describes has {asked:,}")
    return [
        _placed(name, path, index, part)
        for path, leaf in leaves.items()
        for name, index, part in _parts(leaf, stored_name(leaf.row))
    ]


def _placed(name: str, path: str, index: tuple[int, ...], row: Parameter) -> Placement:
    if row.share is None:
        return Placement(name, row.stored_shape, path, index, row)
    return Placement(name, row.share.whole(row.stored_shape), path, index, row, row.share.of, put=row.share.put)


def _count(leaf: Leaf, template: str) -> int:
    """How many `_parts` there are."""
    return len(leaf.layers or (0,)) * (leaf.row.copies if "{expert}" in template else 1)


def _parts(leaf: Leaf, template: str) -> list[tuple[str, tuple[int, ...], Parameter]]:
    if leaf.layers is None:
        return [(template, (), leaf.row)]
    layers = enumerate(leaf.layers)
    if "{expert}" not in template:
        return [(template.format(layer=layer), (slot,), leaf.row) for slot, layer in layers]
    experts, one = range(leaf.row.copies), leaf.row.one_copy
    return [(template.format(layer=layer, expert=e), (slot, e), one) for slot, layer in layers for e in experts]
