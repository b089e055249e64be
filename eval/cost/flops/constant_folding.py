"""Values that a traced program computes from constants alone, worked out only when somebody asks.

A counter meets positions as the program computes them: an iota, a slice of a cache that was updated.  Most such
values are never needed, and some would be large, so that a `Known` remembers how to get its value and does so late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import jax
import numpy as np


class Known:
    """A value that is known: a constant, or one result of applying a primitive to known values."""

    def __init__(self, value: Any = None, made_by: _Application | None = None, index: int = 0) -> None:
        self._constant, self.made_by, self._index = value, made_by, index

    @cached_property
    def value(self) -> np.ndarray:
        """The value, on the host."""
        return np.asarray(self._constant) if self.made_by is None else self.made_by.results[self._index]

    def at(self, row: int) -> Known:
        """One row of the leading axis, as a scan hands it to its body."""
        return Known(made_by=_Application("row", lambda x: x[row], (self,)))


class Varying:
    """A value that is perhaps known in each turn of a loop, another in each, or by following the loop that made it."""

    def at(self, row: int) -> Varying:
        return self


Operand = Known | Varying | None
"""What is known of a value: all, that each turn of the loop around will know it, or nothing."""


class _Application:
    """A primitive and its operands; the results are worked out once."""

    def __init__(self, name: str, function: Any, operands: tuple[Known, ...]) -> None:
        self.name, self.function, self.operands = name, function, operands

    @cached_property
    def results(self) -> list[np.ndarray]:
        if self.name == "dynamic_slice":
            return [_sliced(self.function.params["slice_sizes"], *self.operands)]
        if self.name in _ON_HOST:
            return [_ON_HOST[self.name](self.function.params, *(operand.value for operand in self.operands))]
        out = self.function(*(operand.value for operand in self.operands))
        return [np.asarray(x) for x in (out if isinstance(out, list | tuple) else [out])]


class _Bound:
    """A primitive with its parameters, to be called eagerly."""

    def __init__(self, eqn: Any) -> None:
        self.primitive, self.params = eqn.primitive, eqn.params
        self.shapes = tuple(atom.aval.shape for atom in eqn.invars)

    def __call__(self, *values: np.ndarray) -> Any:
        return self.primitive.bind(*values, **self.params)


def apply(eqn: Any, operands: Sequence[Known | Varying]) -> list[Operand]:
    """The results of an equation of a jaxpr whose operands are all known; nothing of jax's own dtypes, such as keys."""
    if any(_is_extended(atom) for atom in (*eqn.invars, *eqn.outvars)):
        return [None] * len(eqn.outvars)
    known = [operand for operand in operands if isinstance(operand, Known)]
    if len(known) < len(operands):
        return [Varying()] * len(eqn.outvars)
    application = _Application(eqn.primitive.name, _Bound(eqn), tuple(known))
    return [Known(made_by=application, index=i) for i in range(len(eqn.outvars))]


_ON_HOST: Final[Mapping[str, Callable[..., np.ndarray]]] = MappingProxyType(
    {
        "add": lambda params, x, y: x + y,
        "and": lambda params, x, y: x & y,
        "broadcast_in_dim": lambda params, x: _broadcast(params, x),
        "convert_element_type": lambda params, x: x.astype(params["new_dtype"]),
        "concatenate": lambda params, *xs: np.concatenate(xs, axis=params["dimension"]),
        "eq": lambda params, x, y: x == y,
        "ge": lambda params, x, y: x >= y,
        "gt": lambda params, x, y: x > y,
        "iota": lambda params: _iota(**params),
        "ne": lambda params, x, y: x != y,
        "not": lambda params, x: ~x,
        "or": lambda params, x, y: x | y,
        "reduce_and": lambda params, x: x.all(params["axes"]),
        "reduce_max": lambda params, x: x.max(params["axes"]),
        "reduce_min": lambda params, x: x.min(params["axes"]),
        "reduce_or": lambda params, x: x.any(params["axes"]),
        "reduce_sum": lambda params, x: x.sum(params["axes"], dtype=x.dtype),
        "reshape": lambda params, x: x.reshape(params["new_sizes"]),
        "le": lambda params, x, y: x <= y,
        "lt": lambda params, x, y: x < y,
        "max": lambda params, x, y: np.maximum(x, y),
        "min": lambda params, x, y: np.minimum(x, y),
        "mul": lambda params, x, y: x * y,
        "select_n": lambda params, which, *cases: np.choose(which, cases),
        "slice": lambda params, x: _strided(**params, x=x),
        "squeeze": lambda params, x: x.squeeze(params["dimensions"]),
        "sub": lambda params, x, y: x - y,
        "transpose": lambda params, x: x.transpose(params["permutation"]),
    }
)
"""What positions and indices are mostly made of: numpy answers at once, where jax would compile each shape."""


def _broadcast(params: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """A view: a cache of empty slots takes no memory."""
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(shape), params["shape"])


def _iota(dtype: Any, shape: tuple[int, ...], dimension: int, **_: Any) -> np.ndarray:
    along = np.arange(shape[dimension], dtype=dtype)
    return np.broadcast_to(along.reshape([-1 if i == dimension else 1 for i in range(len(shape))]), shape)


def _strided(x: np.ndarray, start_indices: Any, limit_indices: Any, strides: Any) -> np.ndarray:
    steps = strides or (1,) * x.ndim
    return x[tuple(slice(*one) for one in zip(start_indices, limit_indices, steps, strict=True))]


def _sliced(sizes: tuple[int, ...], source: Known, *starts: Known) -> np.ndarray:
    """A slice of an array, without the array where the slice lies inside or beside what was last written to it."""
    at = [int(start.value) for start in starts]
    while source.made_by is not None and source.made_by.name == "dynamic_update_slice":
        base, update, *written_at = source.made_by.operands
        whole, shape = source.made_by.function.shapes[:2]  # the update itself may be dear to know
        low = _clamped((int(start.value) for start in written_at), shape, whole)
        at = _clamped(at, sizes, whole)
        ranges = list(zip(at, sizes, low, shape, strict=True))
        if all(w <= s and s + n <= w + m for s, n, w, m in ranges):
            source, at = update, [s - w for s, w in zip(at, low, strict=True)]
        elif any(s + n <= w or w + m <= s for s, n, w, m in ranges):
            source = base
        else:
            break
    array = source.value
    at = _clamped(at, sizes, array.shape)
    return array[tuple(slice(s, s + n) for s, n in zip(at, sizes, strict=True))]


def _clamped(starts: Iterable[int], sizes: Sequence[int], whole: Sequence[int]) -> list[int]:
    """Starts of a slice where XLA would put them: it moves one that reaches beyond an end."""
    return [min(max(start, 0), total - size) for start, size, total in zip(starts, sizes, whole, strict=True)]


def _is_extended(atom: Any) -> bool:
    dtype = getattr(atom.aval, "dtype", None)
    return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.extended)
