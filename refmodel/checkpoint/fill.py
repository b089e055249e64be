"""The parameter tree out of a checkpoint's tensors: checked whole, then filled leaf by leaf."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Final

import jax
import numpy as np

from refmodel.checkpoint.aligned import aligned_empty
from refmodel.checkpoint.packed_leaf import packed_leaf
from refmodel.checkpoint.packing import Packing
from refmodel.checkpoint.placement import Placement, Shape
from refmodel.checkpoint.put import put
from refmodel.specification import ModelConfig
from refmodel.tree import Leaf, model_leaves, nested
from refmodel.words import shown

_MOST_THREADS: Final = 8
_MOST_BYTES: Final = 2**27
"""Of tensors that are in memory together; one that is larger is alone."""


def fill(
    config: ModelConfig, dtype: Any, placed: Sequence[Placement], shapes: Mapping[str, Shape],
    read: Callable[[str], np.ndarray], where: str, packing: Packing | None = None,
) -> Any:  # fmt: skip
    """The parameter tree of `config` in `dtype`, with the tensors of `placed` out of a checkpoint.

    Args:
        placed: which tensor goes where; together they cover every leaf exactly once,
            but for those of mixers, which most checkpoints lack.
        shapes: what the checkpoint has: the shape of each tensor.
        read: a tensor by name, in any dtype.
        where: the checkpoint, for messages.
        packing: which leaves are packed, and how; None for none.

    Raises `ValueError` for a missing, surplus or misshapen tensor before it allocates anything.  Each leaf is
    allocated once and handed over to JAX, which on a CPU uses it in place: the peak is the tree and one tensor, or
    some small ones; where weights are packed, one tensor expanded and what packing it takes, or as many small ones as
    there are threads.
    """
    check_placed(placed, shapes, where)
    sources: dict[str, list[Placement]] = {}
    for one in placed:
        sources.setdefault(one.leaf, []).append(one)
    leaves = {path: leaf for path, leaf in model_leaves(config).items() if path in sources or not leaf.row.of_mixer}

    def filled(path: str, leaf: Leaf, pool: Executor) -> Any:
        if packing and (codings := packing.codings(leaf.row, sources[path])):
            return packed_leaf(leaf, dtype, list(zip(codings, sources[path], strict=True)), packing, pool)
        return _filled(leaf.abstract(dtype), sources[path], read, pool)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        return nested({path: filled(path, leaf, pool) for path, leaf in sorted(leaves.items())})


def check_placed(placed: Sequence[Placement], shapes: Mapping[str, Shape], where: str) -> None:
    """Raises `ValueError` for a missing, surplus or misshapen tensor."""
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
    """A leaf: while the threads end small tensors, the next are read."""
    leaf = aligned_empty(struct.shape, struct.dtype)
    covered = 0
    going: deque[tuple[int, list[Future[None]]]] = deque()  # what is read, and the tasks that put it into the leaf
    for one in placed:
        part = leaf[one.index]
        while going and part.nbytes + sum(size for size, _ in going) > _MOST_BYTES:
            _finish(going.popleft()[1])
        going.append((part.nbytes, put(part, one.row, one.pick(read(one.name)), pool)))
        covered += part.size
    for _, tasks in going:
        _finish(tasks)
    assert covered == leaf.size
    return jax.device_put(leaf)


def _finish(tasks: Sequence[Future[None]]) -> None:
    """Waits, and raises what was raised in one of them."""
    for task in tasks:
        task.result()
