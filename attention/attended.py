"""What attention gives: its result, and what ran for it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce

import jax
import jax.numpy as jnp

from attention.exact_count import ExactCount

AttendFn = Callable[..., "Attended"]
"""`attention.attend.attend`, or a function with its signature."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Attended:
    """Of one call of `attend`, of a layer, or of steps together.  Under `jit`, what nobody reads costs nothing.

    Attributes:
        out_btnh: weighted values [B, T, N, H], 0 for a query that sees nothing.
        lse_bnt: log of each softmax's denominator over scaled scores, float32 [B, N, T], -inf where nothing is seen:
            what merges parts of a row, and turns a score into a probability.  None where it was not asked for and is
            not free.
        visited: (query, key) pairs of the tiles that ran, all query heads and rows of the batch; `int(visited)` is
            exact.  None where what ran does not tell.
        impl: names of the backends that ran, in the order of their first call.
    """

    out_btnh: jax.Array
    lse_bnt: jax.Array | None = None
    visited: ExactCount | None = None
    impl: tuple[str, ...] = field(default=(), metadata={"static": True})

    def after(self, *others: Attended) -> Attended:
        """This result, with what ran for `others` before it: pairs of all together, and the names of all."""
        return Attended(self.out_btnh, self.lse_bnt, *_work_of([*others, self]))

    def unstacked(self) -> Attended:
        """A scan's results, its turns in front of every axis, as one whose tokens follow each other."""
        n, b, t, *rest = self.out_btnh.shape
        lse_bnt = self.lse_bnt
        if lse_bnt is not None:  # [turns, B, N, T]
            lse_bnt = jnp.moveaxis(lse_bnt, 0, 2).reshape(b, -1, n * t)
        visited = None if self.visited is None else self.visited.total()
        return Attended(jnp.moveaxis(self.out_btnh, 0, 1).reshape(b, n * t, *rest), lse_bnt, visited, self.impl)


def concatenated(parts: Sequence[Attended]) -> Attended:
    """Steps of the same rows, one after the other, as one."""
    out_btnh = jnp.concatenate([part.out_btnh for part in parts], axis=1)
    lses = [part.lse_bnt for part in parts if part.lse_bnt is not None]
    lse_bnt = jnp.concatenate(lses, axis=2) if len(lses) == len(parts) else None
    return Attended(out_btnh, lse_bnt, *_work_of(parts))


def _work_of(parts: Sequence[Attended]) -> tuple[ExactCount | None, tuple[str, ...]]:
    """`visited` and `impl` of all parts."""
    impl = tuple(dict.fromkeys(name for part in parts for name in part.impl))
    counts = [part.visited for part in parts if part.visited is not None]
    return (reduce(operator.add, counts) if len(counts) == len(parts) else None), impl
