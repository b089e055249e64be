"""Tiles of packed weights inside a Pallas-Triton kernel, decoded in registers piece by piece along the contraction.

A piece is as many neighbours as share scales, at most the 32 that a shift brings out of bytes: its scales are a column
[rows, 1].  Rows of x times such a tile, contracted over the last axes of both, are a product's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.ref import Ref
from refmodel.kernels.packed_ptx import ptx_decode
from refmodel.packed.coding import Scales
from refmodel.packed.packed import Packed
from refmodel.packed.planes import LANES, PAIR


class Piece(NamedTuple):
    """Weights of a step, to be contracted over `axis` with as many numbers of x from `start` in the step on."""

    start: int
    weight: jax.Array
    axis: int

    @property
    def depth(self) -> int:
        """Numbers that are contracted."""
        return self.weight.shape[self.axis]


Pieces = Callable[[jax.Array], Iterator[Piece]]
"""Of the i-th step of a contraction."""


def step_of(stacks: Iterable[jax.Array | Packed], most: int, depth: int) -> int:
    """Numbers of the contraction in one step: a power of two that divides it, and whole pairs of nibbles."""
    nibbles = any(isinstance(stack, Packed) and stack.coding.bits < 8 for stack in stacks)
    return max(min(most, depth & -depth), PAIR if nibbles else 1)


def pieces_of(packed: Packed, place: tuple[jax.Array, ...], row: jax.Array, rows: int, step: int, dtype: Any) -> Pieces:
    """The pieces of `rows` rows from `row` on, of the matrix at `place`, whose parts are references to whole stacks.

    `step` is that of `step_of`.
    """
    coding, depth = packed.coding, packed.shape[-1]
    place = (packed.slot(place[0]), *place[1:])
    group = coding.group_size(depth)
    row_r = row + jnp.arange(rows)

    def scales_of(group: jax.Array | int) -> Scales:
        def read(name: str) -> jax.Array:
            field = coding.fields[name]
            index = *place, row_r // field.rows, group // field.groups
            part: Ref = packed.parts[name]
            return plgpu.load(part.at[tuple(jnp.broadcast_to(i, (rows,)) for i in index)])[:, None]

        return coding.scales(read, jnp.asarray(group, jnp.int32))

    whole_rows = scales_of(0) if group == depth else None
    width = math.gcd(group, step if coding.bits == 8 else LANES)
    by_ptx = ptx_decode(coding, dtype)

    def scaled(level: jax.Array, scales: Scales) -> jax.Array:
        scale, minimum = scales
        weight = coding.number(level) * scale
        return (weight if minimum is None else weight - minimum).astype(dtype)

    def decoded(held: jax.Array, levels: list[jax.Array], scales: list[Scales]) -> list[jax.Array]:
        if by_ptx is None:
            return list(map(scaled, levels, scales))
        return by_ptx(held, [jnp.broadcast_to(scale.astype(jnp.bfloat16), held.shape) for scale, _ in scales])

    starts = range(0, step, min(width, step))
    aligned = step % group == 0 or group % step == 0
    first_of_group = [at for at in starts if not aligned or at % group == 0]

    def scales(i: jax.Array) -> list[Scales]:
        if whole_rows:
            return []
        if not aligned:  # some steps begin within a group
            return [scales_of(lax.div(i * step + at, group)) for at in starts]
        first = i * (step // group) if step >= group else lax.div(i, group // step)
        return [scales_of(first + at // group) for at in first_of_group]

    def pieces(i: jax.Array) -> Iterator[Piece]:
        known = scales(i)

        def scales_at(offset: int) -> Scales:
            return whole_rows or known[offset // group if aligned else offset // width]

        def scales_of_lanes(offset: int) -> Scales:
            if width == LANES:
                return scales_at(offset)
            second = jnp.arange(LANES)[None] >= width  # two groups in the numbers of a shift
            (scale, minimum), (scale_2, minimum_2) = scales_at(offset), scales_at(offset + width)
            scale = jnp.where(second, scale_2, scale)
            if minimum is not None and minimum_2 is not None:
                minimum = jnp.where(second, minimum_2, minimum)
            return scale, minimum

        columns = pl.ds(row, rows)
        if coding.bits == 8:
            for offset in starts:
                level = packed.parts["byte"][*place, columns, pl.ds(i * step + offset, width)]
                yield Piece(offset, decoded(level, [level], [scales_at(offset)])[0], 1)
            return
        for pair in range(0, step, PAIR):
            low = packed.parts["low"][*place, columns, pl.ds(i * (step // 2) + pair // 2, LANES)]
            halves = pair, pair + LANES
            levels = _with_high_bits(packed, place, columns, low, [i * (step // LANES) + at // LANES for at in halves])
            weights = decoded(low, levels, list(map(scales_of_lanes, halves)))
            yield from (Piece(start, weight, 1) for start, weight in zip(halves, weights, strict=True))

    return pieces


def _with_high_bits(
    packed: Packed, place: tuple[jax.Array, ...], rows: Any, low: jax.Array, words: list[jax.Array]
) -> list[jax.Array]:
    """int32 levels [rows, 32] of both halves of the bytes `low`; `words` says which of `high` are theirs."""
    levels = [low.astype(jnp.int32) & 15, low.astype(jnp.int32) >> 4]
    for bit in range(packed.coding.bits - 4):
        for half, at in enumerate(words):
            word = packed.parts["high"][*place, bit, rows, pl.ds(at, 1)]
            one = (word >> jnp.arange(LANES, dtype=jnp.uint32)[None]) & 1
            levels[half] |= one.astype(jnp.int32) << (4 + bit)
    return levels


def product(x: jax.Array, piece: Piece) -> jax.Array:
    """float32 [rows of x, columns]: x [rows, depth] by a piece of weights."""
    exact = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    axes = ((1,), (piece.axis,)), ((), ())
    return lax.dot_general(x, piece.weight, axes, precision=exact, preferred_element_type=jnp.float32)
