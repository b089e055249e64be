"""Few rows times several matrices of one layer, in one Pallas-Triton kernel, for CUDA and ROCm.

Reading the weights is all that takes time, so they are read once, out of their stacks, by as many programs as there are
blocks of columns in all of them together.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.matmul_tiles import ProjectionTiles, projection_tiles
from attention.kernels.ref import Ref
from attention.kernels.target import current_target
from refmodel.kernels.packed_tiles import Piece, Pieces, pieces_of, product, step_of
from refmodel.packed.packed import Packed

NAME: Final = "few_rows_projection"
"""Of the kernel in compiled programs."""
LEAST_ROWS: Final = 16
"""Of an operand of a matrix unit."""


def project_few_rows(
    x_rd: jax.Array, stacks_ldf: tuple[jax.Array | Packed, ...], layer: jax.Array, *, dtype: Any = None,
    tiles: ProjectionTiles | None = None, interpret: bool = False,
) -> tuple[jax.Array, ...]:  # fmt: skip
    """x·W[layer] for each W [L, D, F], its F as it is: [rows, F] each, in `dtype` (None: that of x).

    A packed W is [L, F, D].  Sums in float32.  `tiles` are those of `attention.kernels.matmul_tiles` for this device if
    None.  No derivative.  Raises `ValueError` for a depth or width that is no multiple of 16.
    """
    (rows, depth), packed = x_rd.shape, any(isinstance(stack, Packed) for stack in stacks_ldf)
    widths = [stack.shape[1 if isinstance(stack, Packed) else 2] for stack in stacks_ldf]
    for name, size in (("depth", depth), *(("width", width) for width in widths)):
        if size % 16:
            raise ValueError(f"the kernel takes weights whose {name} is a multiple of 16, got {size}")
    tiles = tiles or projection_tiles(current_target(), x_rd.dtype, sum(widths), packed)
    step = step_of(stacks_ldf, tiles.depth * LEAST_ROWS // _tile_rows(rows), depth)  # more rows leave less room
    columns = min(tiles.columns, *(width & -width for width in widths))
    read_bytes = sum(stack.nbytes // stack.shape[0] for stack in stacks_ldf) + x_rd.nbytes
    cost = pl.CostEstimate(
        flops=2 * _tile_rows(rows) * depth * sum(widths), transcendentals=0, bytes_accessed=read_bytes
    )
    out = pl.pallas_call(
        partial(_kernel, rows=rows, step=step, columns=columns, widths=widths),
        grid=(sum(widths) // columns,),
        out_shape=[jax.ShapeDtypeStruct((rows, width), dtype or x_rd.dtype) for width in widths],
        compiler_params=plgpu.CompilerParams(num_warps=tiles.warps, num_stages=tiles.stages),
        interpret=interpret,
        name=NAME,
        cost_estimate=cost,
    )(jnp.asarray(layer, jnp.int32).reshape(1), x_rd, *stacks_ldf)
    return tuple(out)


def _tile_rows(rows: int) -> int:
    return max(LEAST_ROWS, 1 << (rows - 1).bit_length())


def _kernel(layer_ref: Ref, x_ref: Ref, *refs: Ref, rows: int, step: int, columns: int, widths: list[int]) -> None:
    block, first = pl.program_id(0), 0
    for weight_ref, out_ref, width in zip(refs[: len(widths)], refs[len(widths) :], widths, strict=True):
        end = first + width // columns
        multiply = partial(_multiply, layer_ref, x_ref, weight_ref, out_ref, rows=rows, step=step, columns=columns)
        pl.when((block >= first) & (block < end))(partial(multiply, (block - first) * columns))
        first = end


def _multiply(
    layer_ref: Ref, x_ref: Ref, weight_ref: Ref | Packed, out_ref: Ref, column: jax.Array, *, rows: int, step: int,
    columns: int,
) -> None:  # fmt: skip
    """One block of columns of one matrix."""
    size, depth = _tile_rows(rows), x_ref.shape[1]
    row = jnp.arange(size)[:, None]

    def at(ref: Ref, column: jax.Array) -> tuple[Ref, jax.Array]:
        """A block, and which of it exists.  Every index an array of the whole block: interpret mode wants that."""
        row_index, column_index = jnp.broadcast_arrays(row, column[None])
        return ref.at[row_index, column_index], row_index < rows

    def load_rows(first: jax.Array, depth: int) -> jax.Array:
        block, exists = at(x_ref, first + jnp.arange(depth))
        return plgpu.load(block, mask=exists, other=0.0)

    def whole_step(i: jax.Array) -> Iterator[Piece]:
        array: Ref = weight_ref
        yield Piece(0, array[layer_ref[0], pl.ds(i * step, step), pl.ds(column, columns)], 0)

    pieces: Pieces = whole_step
    if isinstance(weight_ref, Packed):
        pieces = pieces_of(weight_ref, (layer_ref[0],), column, columns, step, x_ref.dtype)

    def accumulate(i: jax.Array, total: jax.Array) -> jax.Array:
        return sum((product(load_rows(i * step + one.start, one.depth), one) for one in pieces(i)), total)

    total = lax.fori_loop(0, depth // step, accumulate, jnp.zeros((size, columns), jnp.float32))
    block, exists = at(out_ref, column + jnp.arange(columns))
    plgpu.store(block, total.astype(out_ref.dtype), mask=exists)
