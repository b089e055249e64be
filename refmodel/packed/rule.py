"""Which parameters of a model are packed when it is asked for in a coding, and the bytes that they take then.

What every token multiplies by: projections, feed-forwards, experts, the head, and the embedding.  Norms, biases,
routers, convolutions and what a mixer has of its own are a thousandth of a model and stay as they are; so does a matrix
of fewer than `LEAST_ROWS` rows.
"""

from __future__ import annotations

import math
from typing import Any, Final

import jax.numpy as jnp

from refmodel.packed.coding import Coding
from refmodel.parameters import Parameter
from refmodel.specification import ModelConfig

_MULTIPLIED: Final = frozenset({"attention_projections", "feed_forward", "experts", "head"})
_EMBEDDING: Final = "embed.embedding"
LEAST_ROWS: Final = 16


def is_packed(row: Parameter, coding: Coding | None) -> bool:
    """Whether the parameter is kept in `coding`; none is without one.

    Raises `ValueError` where its rows are of a length that the coding cannot hold.
    """
    if coding is None or not may_be_packed(row):
        return False
    coding.check_depth(row.path, row.stored_shape[-1])
    return True


def may_be_packed(row: Parameter) -> bool:
    """Whether the parameter is one of those that codings are for."""
    if not row.sums or row.of_mixer or not row.copies:
        return False
    if row.path != _EMBEDDING and row.component not in _MULTIPLIED:
        return False
    return row.stored_shape[-2] >= LEAST_ROWS


def outer_axes(row: Parameter) -> tuple[int, ...]:
    """The sizes of a product's axes that the rows of a packed matrix become."""
    copies = 1 if row.axes[0] == "experts" else 0
    sizes = zip(row.axes[copies:], row.shape[copies:], strict=True)
    return tuple(size for axis, size in sizes if axis not in row.sums)


def row_bytes(row: Parameter, dtype: Any, coding: Coding | None) -> int:
    """That one layer's parameter takes, packed or in `dtype`."""
    if not row.copies:
        return 0
    if not is_packed(row, coding):
        return row.size * jnp.dtype(dtype).itemsize
    assert coding is not None
    *copies, rows, depth = row.stored_shape
    return math.prod(copies) * coding.matrix_bytes(rows, depth)


def weight_bytes(config: ModelConfig, dtype: Any, coding: Coding | None) -> int:
    """Of all parameters, those that `coding` does not take in `dtype`.

    Raises `ValueError` naming the model where its rows are of a length that the coding cannot hold.
    """
    try:
        return _weight_bytes(config, dtype, coding)
    except ValueError as error:
        raise ValueError(f"{config.name}: {error}") from error


def _weight_bytes(config: ModelConfig, dtype: Any, coding: Coding | None) -> int:
    layers = sum(
        n * row_bytes(row, dtype, coding) for layer, n in config.distinct_layers.items() for row in layer.parameters
    )
    return layers + sum(row_bytes(row, dtype, coding) for row in config.outside)
