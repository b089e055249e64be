"""From stored tensors to the parameter tree: one table of rows, checked whole, then filled leaf by leaf.

Checkpoints store a matrix as [out, in] with the heads fused into one axis; the tree holds [in, out] with the heads
split.  A row says which stored tensor goes to which part of which leaf:

    "model.layers.7.self_attn.q_proj.weight" [N*H, D]  ->  "blocks.dense.attn.q" [L, D, N, H] at (7,)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import numpy as np

from refmodel.config import BlockKind

Shape = tuple[int, ...]
Leaves = Mapping[str, jax.ShapeDtypeStruct]

_ALIGNMENT_BYTES: Final = 64
"""What XLA asks of memory that it is to use in place."""


@dataclass(frozen=True)
class Row:
    """One stored tensor `name` of `shape`, and the part `leaf[index]` that it fills.

    `pick` takes the leaf's share out of a stored tensor that is not the plain [out, in] matrix.
    """

    name: str
    shape: Shape
    leaf: str
    index: tuple[int, ...]
    pick: Callable[[np.ndarray], np.ndarray] = lambda stored: stored


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a parameter tree by dotted path, such as `blocks.dense.attn.q`, in the tree's own order."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in found}


def table(leaves: Leaves, names: Mapping[str, str], kinds: Sequence[BlockKind]) -> list[Row]:
    """A row for every stored tensor of a model whose layers have these block `kinds`.

    `names` gives the tensor of each leaf.  A leaf under `blocks.<kind>` has one tensor per layer, in whose name
    `{layer}` stands for the layer's number; with `{expert}` in it too, one per layer and expert.
    """
    rows = []
    for leaf, struct in leaves.items():
        for index, name in _places(leaf, struct.shape, names[leaf], kinds):
            rows.append(Row(name, _stored_shape(leaf, struct.shape[len(index) :]), leaf, index))
    return rows


def _places(leaf: str, shape: Shape, template: str, kinds: Sequence[BlockKind]) -> list[tuple[tuple[int, ...], str]]:
    if not leaf.startswith("blocks."):
        return [((), template)]
    layers = list(enumerate(layer for layer, kind in enumerate(kinds) if leaf.startswith(f"blocks.{kind}.")))
    if "{expert}" not in template:
        return [((slot,), template.format(layer=layer)) for slot, layer in layers]
    experts = range(shape[1])
    return [((slot, e), template.format(layer=layer, expert=e)) for slot, layer in layers for e in experts]


def _stored_shape(leaf: str, part: Shape) -> Shape:
    """The shape in which checkpoints hold a leaf's part: [out, in], and [E, out, in] for experts in one tensor."""
    if _is_untransposed(leaf):
        return part
    if leaf.endswith(("attn.q", "attn.k", "attn.v")):
        return (math.prod(part[1:]), part[0])
    if leaf.endswith("attn.o"):
        return (part[-1], math.prod(part[:-1]))
    return (*part[:-2], part[-1], part[-2])


def _is_untransposed(leaf: str) -> bool:
    return leaf.endswith((".scale", ".embedding"))


def fill(
    tree: Any, rows: Sequence[Row], shapes: Mapping[str, Shape], read: Callable[[str], np.ndarray], where: str
) -> Any:
    """The tree of arrays that `tree` describes, read through `rows` out of a checkpoint.

    Args:
        tree: the parameter tree, as `jax.ShapeDtypeStruct`s.
        rows: which tensor goes where; together they cover every leaf exactly once.
        shapes: what the checkpoint has: the shape of each tensor.
        read: a tensor by name, in any dtype.
        where: the checkpoint, for messages.

    Raises `ValueError` for a missing, surplus or misshapen tensor before it allocates anything.  Each leaf is
    allocated once and handed over to JAX, which on a CPU uses it in place: the peak is the tree and one tensor.
    """
    _check(rows, shapes, where)
    leaves = leaves_by_path(tree)
    sources: dict[str, list[Row]] = {leaf: [] for leaf in leaves}
    for row in rows:
        sources[row.leaf].append(row)
    filled = [_filled(struct, sources[leaf], read) for leaf, struct in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(tree), filled)


def _check(rows: Sequence[Row], shapes: Mapping[str, Shape], where: str) -> None:
    wanted = {row.name: row for row in rows}
    for fault, names in (("lacks", wanted.keys() - shapes.keys()), ("has surplus", shapes.keys() - wanted.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"{where} {fault} tensor {min(names)}{more}")
    for name, row in wanted.items():
        if shapes[name] != row.shape:
            raise ValueError(f"{where}: {name} has shape {shapes[name]}; the model's {row.leaf} needs {row.shape}")


def _filled(struct: jax.ShapeDtypeStruct, rows: Sequence[Row], read: Callable[[str], np.ndarray]) -> jax.Array:
    leaf = _aligned_empty(struct.shape, struct.dtype)
    covered = 0
    for row in rows:
        part = leaf[row.index]
        stored = row.pick(read(row.name))
        part[...] = stored if _is_untransposed(row.leaf) else stored.swapaxes(-1, -2).reshape(part.shape)
        covered += part.size
        del stored  # before the next tensor is read
    assert covered == leaf.size
    return jax.device_put(leaf)


def _aligned_empty(shape: Shape, dtype: Any) -> np.ndarray:
    size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size_bytes + _ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT_BYTES
    return raw[start : start + size_bytes].view(dtype).reshape(shape)
