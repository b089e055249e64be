"""From stored tensors to the parameter tree: one list of placements, checked whole, then filled leaf by leaf.

Checkpoints store a matrix as [out, in] with the heads fused into one axis; the tree holds [in, out] with the heads
split.  A placement says which stored tensor goes to which part of which leaf:

    "model.layers.7.self_attn.q_proj.weight" [N*H, D]  ->  "blocks.dense.attn.q" [L, D, N, H] at (7,)
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import jax
import numpy as np

from refmodel.checkpoint.put import put
from refmodel.parameters import Parameter
from refmodel.specification import ModelConfig
from refmodel.tree import Leaf, abstract_params, leaves_by_path, model_leaves
from refmodel.words import shown

Shape = tuple[int, ...]

_MOST_THREADS: Final = 8
_SPARE: Final = 1_000
"""Tensors that may lack in any case: the first of them is named."""
_SMALL_BYTES: Final = 2**26
"""Of a tensor that may be in memory beside the next one."""
_ALIGNMENT_BYTES: Final = 64
"""What XLA asks of memory that it is to use in place."""


@dataclass(frozen=True)
class Placement:
    """One stored tensor `name` of `shape`, and the part `leaf[index]` that it fills, whose row of the table is `row`.

    `pick` takes the leaf's share out of a stored tensor that is not the plain [out, in] matrix.
    """

    name: str
    shape: Shape
    leaf: str
    index: tuple[int, ...]
    row: Parameter
    pick: Callable[[np.ndarray], np.ndarray] = lambda stored: stored


def placements(
    config: ModelConfig, stored_name: Callable[[Parameter], str], stored: int, where: str
) -> list[Placement]:
    """A placement for every tensor that the checkpoint of a model stores.

    Args:
        stored_name: the name of a row's tensor, with `{layer}` for the layer's number and, where experts are stored one
            by one, `{expert}`.  Mixers' own parameters are not stored.
        stored: tensors that the checkpoint `where` has.

    Raises `ValueError` before the list is made, where the description asks for far more than there are.
    """
    leaves = {path: leaf for path, leaf in model_leaves(config).items() if not leaf.row.of_mixer}
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
    return Placement(name, row.share.whole(row.stored_shape), path, index, row, row.share.of)


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


def fill(
    config: ModelConfig, dtype: Any, placed: Sequence[Placement], shapes: Mapping[str, Shape],
    read: Callable[[str], np.ndarray], where: str,
) -> Any:  # fmt: skip
    """The parameter tree of `config` in `dtype`, with the tensors of `placed` out of a checkpoint.

    Args:
        placed: which tensor goes where; together they cover every leaf exactly once.
        shapes: what the checkpoint has: the shape of each tensor.
        read: a tensor by name, in any dtype.
        where: the checkpoint, for messages.

    Raises `ValueError` for a missing, surplus or misshapen tensor before it allocates anything.  Each leaf is
    allocated once and handed over to JAX, which on a CPU uses it in place: the peak is the tree and one tensor, or
    two small ones.
    """
    _check(placed, shapes, where)
    tree = abstract_params(config, dtype)
    leaves = leaves_by_path(tree)
    sources: dict[str, list[Placement]] = {leaf: [] for leaf in leaves}
    for one in placed:
        sources[one.leaf].append(one)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        filled = [_filled(struct, sources[leaf], read, pool) for leaf, struct in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(tree), filled)


def _check(placed: Sequence[Placement], shapes: Mapping[str, Shape], where: str) -> None:
    wanted = {one.name: one for one in placed}
    for fault, names in (("lacks", wanted.keys() - shapes.keys()), ("has surplus", shapes.keys() - wanted.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"{where} {fault} tensor {shown(min(names))}{more}")
    for name, one in wanted.items():
        if shapes[name] != one.shape:
            raise ValueError(f"{where}: {name} has shape {shapes[name]}; the model's {one.leaf} needs {one.shape}")


def _filled(
    struct: jax.ShapeDtypeStruct, placed: Sequence[Placement], read: Callable[[str], np.ndarray], pool: Executor
) -> jax.Array:
    """A leaf: while the threads end one small tensor, the next is read."""
    leaf = _aligned_empty(struct.shape, struct.dtype)
    covered = 0
    before: list[Future[None]] = []
    for one in placed:
        part = leaf[one.index]
        tasks = put(part, one.row, one.pick(read(one.name)), pool)
        _finish(before)
        before = tasks
        if part.nbytes > _SMALL_BYTES:
            _finish(tasks)
        covered += part.size
    _finish(before)
    assert covered == leaf.size
    return jax.device_put(leaf)


def _finish(tasks: Sequence[Future[None]]) -> None:
    """Waits, and raises what was raised in one of them."""
    for task in tasks:
        task.result()


def _aligned_empty(shape: Shape, dtype: Any) -> np.ndarray:
    size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size_bytes + _ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT_BYTES
    return raw[start : start + size_bytes].view(dtype).reshape(shape)
