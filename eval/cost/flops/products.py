"""FLOPs of the primitives that are matrix products: 2 per multiply-accumulate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final


def _dot_general(eqn: Any) -> int:
    """2 · (elements of the result) · (contracted size)."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    lhs = eqn.invars[0].aval.shape
    return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(lhs[axis] for axis in contracted)


def _convolution(eqn: Any) -> int:
    """2 · (elements of the result) · (kernel elements per output channel); padding is computed and counted."""
    kernel = eqn.invars[1].aval.shape
    out_channels = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel) // out_channels


def _ragged_dot(eqn: Any) -> int:
    """2 · rows · K · N: each row meets one group.  What a backend makes of it may be a product with every group."""
    lhs, rhs, out = (v.aval.shape for v in (*eqn.invars[:2], eqn.outvars[0]))
    if len(lhs) != 2 or len(rhs) != 3 or len(out) != 2:
        raise ValueError(f"{eqn.primitive.name} of {lhs} and {rhs}: only [rows, K] x [groups, K, N] is counted")
    return 2 * lhs[0] * lhs[1] * rhs[2]


PRODUCTS: Final[Mapping[str, Callable[[Any], int]]] = MappingProxyType(
    {
        "dot_general": _dot_general,
        "conv_general_dilated": _convolution,
        "ragged_dot": _ragged_dot,
        "ragged_dot_general": _ragged_dot,
    }
)
"""By the primitive's name."""
