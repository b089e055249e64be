"""A digest of a parameter tree: two trees have one digest iff they hold the same numbers under the same names."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import jax
import numpy as np

from refmodel.packed.packed import Packed
from refmodel.tree import Params, leaves_by_path

PIECE_BYTES: Final = 2**24
"""Hashed by one core at a time; of an array on an accelerator no more than one piece a core is on the host."""


def params_digest(params: Params, on_piece: Callable[[], None] = lambda: None) -> str:
    """BLAKE2b of path, dtype, shape and every byte of every leaf, 32 hex digits: about a second a GB and core.

    Pieces are hashed on all cores.  A sample of the weights would be quicker, and blind to what it leaves out.
    `on_piece` is told of each that is done.

    Examples:
        >>> import jax.numpy as jnp
        >>> ones = {"embed": {"embedding": jnp.ones((3, 5))}}
        >>> changed = {"embed": {"embedding": ones["embed"]["embedding"].at[2, 4].set(1.001)}}
        >>> params_digest(ones) == params_digest(changed), params_digest(ones)[:8]
        (False, 'ade893bc')
    """
    leaves = {name: x for path, leaf in leaves_by_path(params).items() for name, x in _arrays(path, leaf)}
    named = hashlib.blake2b("\n".join(f"{path} {x.dtype} {x.shape}" for path, x in leaves.items()).encode())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for digest in pool.map(_digest, *zip(*_pieces(leaves.values()), strict=True)):
            named.update(digest)
            on_piece()
    return named.hexdigest()[:32]


def _arrays(path: str, leaf: Any) -> list[tuple[str, Any]]:
    """The leaf by its path, or the parts of a packed one, with its coding's name."""
    if not isinstance(leaf, Packed):
        return [(path, leaf)]
    parts = leaf.parts if leaf.slots is None else {**leaf.parts, "slots": leaf.slots}
    return [(f"{path} {leaf.coding.name} {name}", part) for name, part in sorted(parts.items())]


def _pieces(leaves: Any) -> Iterator[tuple[Any, slice]]:
    """Each leaf, and rows of its first axis that are about `PIECE_BYTES` long."""
    for leaf in leaves:
        rows, *row_shape = leaf.shape or (1,)
        row_bytes = math.prod(row_shape) * leaf.dtype.itemsize
        step = max(1, PIECE_BYTES // max(1, row_bytes))
        yield from ((leaf, slice(start, start + step)) for start in range(0, rows, step))


def _digest(leaf: Any, rows: slice) -> bytes:
    if isinstance(leaf, jax.Array) and any(device.platform != "cpu" for device in leaf.devices()):
        stored = np.asarray(leaf[rows] if leaf.shape else leaf)
    else:  # the host's own memory: nothing is copied
        stored = np.asarray(leaf)
        stored = stored[rows] if stored.shape else stored
    return hashlib.blake2b(np.ascontiguousarray(stored).reshape(-1).view(np.uint8).data).digest()
