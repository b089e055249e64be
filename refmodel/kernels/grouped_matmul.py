"""Rows sorted by expert times their expert's weights, in one Pallas-Triton kernel, for CUDA and ROCm.

Weights are read out of the whole [L, E, ...] stacks at (layer, expert), so that scanning over layers copies nothing; a
packed one is decoded in registers (`refmodel.kernels.packed_tiles`).  A tile that holds few rows computes few.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Final, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.matmul_tiles import LEAST_DIVISOR, MatmulTiles, block_columns
from attention.kernels.ref import Ref
from attention.kernels.row_tiles import RowTiles
from refmodel.gating import gated_by_exp2
from refmodel.kernels.packed_tiles import Piece, Pieces, pieces_of, product, step_of
from refmodel.packed.packed import Packed
from refmodel.parts import Activation

Rows = Literal["slot", "row", "token"]
"""What rows of an operand stand for: places in the tile table, the rows that it sorts, or those divided by choices."""
NAME: Final = "grouped_matmul"
"""Of the kernel in compiled programs."""


def sides(stack: jax.Array | Packed) -> tuple[int, int]:
    """Depth and width of the matrices of a stack."""
    depth, width = stack.shape[-2:]
    return (width, depth) if isinstance(stack, Packed) else (depth, width)


def grouped_matmul(
    x: jax.Array,
    weights: tuple[jax.Array | Packed, ...],
    biases: tuple[jax.Array, ...] = (),
    *,
    layer: jax.Array,
    table: RowTiles,
    tiles: MatmulTiles,
    reads: Rows = "row",
    writes: Rows = "row",
    choices: int = 1,
    scale_r: jax.Array | None = None,
    activation: Activation = "silu",
    interpret: bool = False,
) -> jax.Array:
    """x·W[layer, expert of the row], or gated(x·W0, x·W1) for two weights; then times `scale_r`.

    Args:
        x: [rows, depth], its rows standing for what `reads` says.
        weights: one or two stacks [L, E, depth, width], those that are packed [L, E, width, depth].
        biases: as many [L, E, width], each added to its product, or none.
        layer: int32 scalar.
        table: rows by expert, cut with `tiles.rows`.
        writes: `slot` or `row`; slots that hold no row are left unwritten.
        choices: rows of a token, for `reads="token"`.
        scale_r: [rows of the table].

    Raises:
        ValueError: a depth or width that is no multiple of 16.
    """
    depth, width = sides(weights[0])
    for name, size in (("depth", depth), ("width", width)):
        if size % LEAST_DIVISOR:
            raise ValueError(f"the kernel takes weights whose {name} is a multiple of {LEAST_DIVISOR}, got {size}")
    static = _Static(
        tiles.rows,
        tiles.least_rows,
        columns=block_columns(tiles.columns // len(weights), width),
        depth=step_of(weights, tiles.depth, depth),
        reads=reads,
        writes=writes,
        choices=choices,
        activation=activation,
    )
    scales = () if scale_r is None else (scale_r,)
    rows = (table.row_it if writes == "slot" else table.place_r).size
    padded_rows = table.group_i.size * tiles.rows  # as many as any routing may need
    blocks = pl.cdiv(width, static.columns)
    read_bytes = sum(weight.nbytes // weight.shape[0] for weight in weights)
    cost = pl.CostEstimate(
        flops=2 * padded_rows * depth * blocks * static.columns * len(weights), transcendentals=0,
        bytes_accessed=(rows * width + x.size) * x.dtype.itemsize + read_bytes,
    )  # fmt: skip
    integers = (jnp.asarray(a, jnp.int32) for a in (layer.reshape(1), table.n_used.reshape(1), *table[:2]))
    return pl.pallas_call(
        partial(_kernel, static=static, n_weights=len(weights), n_biases=len(biases)),
        grid=(blocks, table.group_i.size),  # a tile's columns side by side: they share its rows
        out_shape=jax.ShapeDtypeStruct((rows, width), x.dtype),
        compiler_params=plgpu.CompilerParams(num_warps=tiles.warps, num_stages=tiles.stages),
        interpret=interpret,
        name=NAME,
        cost_estimate=cost,
    )(x, *weights, *biases, *integers, *scales)


class _Static(NamedTuple):
    """What a kernel is compiled for; sizes of one program."""

    rows: int
    least_rows: int
    columns: int
    depth: int
    reads: Rows
    writes: Rows
    choices: int
    activation: Activation


def _kernel(x_ref: Ref, *refs: Ref, static: _Static, n_weights: int, n_biases: int) -> None:
    stacks = n_weights + n_biases
    product_refs, (layer_ref, used_ref, expert_ref, row_ref, *scale_ref, out_ref) = refs[:stacks], refs[stacks:]
    weight_refs, bias_refs = product_refs[:n_weights], product_refs[n_weights:]
    tile, width = pl.program_id(1), out_ref.shape[1]
    # The last columns begin early enough to be whole: what they share with those before them is computed twice.
    start = pl.multiple_of(jnp.minimum(pl.program_id(0) * static.columns, width - static.columns), LEAST_DIVISOR)

    @pl.when(tile < used_ref[0])
    def _() -> None:
        held = (row_ref[tile, :] >= 0).astype(jnp.int32).sum()  # rows come first in their tile
        size, below = static.least_rows, 0
        while below < static.rows:
            place = _Place(layer_ref[0], expert_ref[tile], tile, row_ref[tile, pl.ds(0, size)], start)
            compute = partial(_compute, x_ref, weight_refs, bias_refs, scale_ref, out_ref, place, static)
            pl.when((held > below) & (held <= size))(compute)
            size, below = 2 * size, size


class _Place(NamedTuple):
    """Where a program stands: its tile, the first rows of that, and its first column."""

    layer: jax.Array
    expert: jax.Array
    tile: jax.Array
    row: jax.Array
    column: jax.Array


def _compute(
    x_ref: Ref, weight_refs: Ref, bias_refs: Ref, scale_ref: Ref, out_ref: Ref, place: _Place, static: _Static
) -> None:
    """The first rows of a tile by one block of columns."""
    layer, expert, tile, row, start = place
    size, exists = row.size, row >= 0
    slots = pl.ds(tile * static.rows, size)

    def at(ref: Ref, row: jax.Array, column: jax.Array) -> Ref:
        """Every index an array of the whole block: interpret mode takes no mixture of arrays and slices."""
        block = size, column.size
        return ref.at[jnp.broadcast_to(row[:, None], block), jnp.broadcast_to(column[None], block)]

    def load_rows(first: jax.Array, depth: int) -> jax.Array:
        if static.reads == "slot":
            return x_ref[slots, pl.ds(first, depth)]
        source = jnp.maximum(row, 0) // static.choices
        block = at(x_ref, source, first + jnp.arange(depth))
        return plgpu.load(block, mask=jnp.broadcast_to(exists[:, None], (size, depth)), other=0.0)

    pieces = [_pieces(ref, place, static, x_ref.dtype) for ref in weight_refs]

    def step(i: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        rows = cache(lambda offset, depth: load_rows(i * static.depth + offset, depth))
        return tuple(
            sum((product(rows(one.start, one.depth), one) for one in of_step(i)), total)
            for total, of_step in zip(sums, pieces, strict=True)
        )

    zeros = jnp.zeros((size, static.columns), jnp.float32)
    sums = lax.fori_loop(0, x_ref.shape[1] // static.depth, step, (zeros,) * len(weight_refs))
    if bias_refs:
        biases = (ref[layer, expert, pl.ds(start, static.columns)].astype(jnp.float32) for ref in bias_refs)
        sums = tuple(total + bias[None] for total, bias in zip(sums, biases, strict=True))
    out, *up = sums
    if up:
        out = gated_by_exp2(out, up[0], static.activation)
    if scale_ref:
        scale = plgpu.load(scale_ref[0].at[jnp.maximum(row, 0)], mask=exists, other=0.0)
        out = out * scale.astype(jnp.float32)[:, None]
    out = out.astype(out_ref.dtype)
    if static.writes == "slot":
        out_ref[slots, pl.ds(start, static.columns)] = out
    else:
        nowhere = out_ref.shape[0]
        block = at(out_ref, jnp.where(exists, row, nowhere), start + jnp.arange(static.columns))
        plgpu.store(block, out, mask=jnp.broadcast_to(exists[:, None], out.shape))


def _pieces(weight: Ref | Packed, place: _Place, static: _Static, dtype: jnp.dtype) -> Pieces:
    """Of a program's columns; an array's whole step is one."""
    stack = place.layer, place.expert
    if isinstance(weight, Packed):
        return pieces_of(weight, stack, place.column, static.columns, static.depth, dtype)

    def whole_step(i: jax.Array) -> Iterator[Piece]:
        yield Piece(0, weight[*stack, pl.ds(i * static.depth, static.depth), pl.ds(place.column, static.columns)], 0)

    return whole_step
