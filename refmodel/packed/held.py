"""How the weights of a tree are held: for records, and for people."""

from __future__ import annotations

from typing import NamedTuple

from refmodel.packed.packed import Packed
from refmodel.packed.rule import may_be_packed
from refmodel.specification import ModelConfig
from refmodel.tree import Params, leaves_by_path, model_leaves


class Held(NamedTuple):
    """Formats of packed leaves by name, none where there is none; bits of a weight and bytes, of the whole tree."""

    format: str
    bits_per_weight: float
    n_bytes: int


def not_kept(config: ModelConfig, params: Params) -> list[str]:
    """A line that names the leaves that codings are for and that are not packed; none where all are."""
    held = leaves_by_path(params)
    found = [
        path
        for path, leaf in model_leaves(config).items()
        if may_be_packed(leaf.row) and path in held and not isinstance(held[path], Packed)
    ]
    said = "not kept packed, for in some layer at least their format or order in the files has no coding"
    return [f"{said}: {', '.join(found)}"] if found else []


def held_weights(params: Params) -> Held:
    """Of a tree of arrays or of their shapes."""
    leaves = leaves_by_path(params).values()
    names = sorted({leaf.coding.name for leaf in leaves if isinstance(leaf, Packed)})
    n_bytes = sum(leaf.nbytes if isinstance(leaf, Packed) else leaf.size * leaf.dtype.itemsize for leaf in leaves)
    return Held("+".join(names), 8 * n_bytes / max(1, sum(leaf.size for leaf in leaves)), n_bytes)
