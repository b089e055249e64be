"""The tiles of the kernels that multiply by weights, on every target: the one place where they are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import jax.numpy as jnp


@dataclass(frozen=True)
class MatmulTiles:
    """Sizes of one program of the grouped matmul, powers of two.

    Attributes:
        rows: most rows of one expert in a program.
        least_rows: a program with fewer rows computes the smallest power of two from here on that holds them.
        columns: of the output, summed over the weights that a program multiplies by.
        depth: of the contraction in one step.
        warps, stages: warps of a program, and steps in flight from memory.
    """

    rows: int
    least_rows: int
    columns: int
    depth: int
    warps: int
    stages: int


MATMUL: dict[tuple[str, int, bool, bool], MatmulTiles] = {
    # (target, bytes of an input element, whether an expert has 128 rows or more on average, whether 1,024 deep or more)
    # Measured on an H100: 128 columns or rows less run at 90 % of this rate, bound by what the L2 cache delivers.
    ("sm_90", 2, True, True): MatmulTiles(128, 64, 256, 64, 8, 4),
    ("sm_90", 2, True, False): MatmulTiles(128, 64, 256, 64, 8, 3),
    # Bound by reading the weights once: small programs, several in a multiprocessor at a time.
    ("sm_90", 2, False, True): MatmulTiles(128, 32, 128, 64, 4, 3),
    ("sm_90", 2, False, False): MatmulTiles(128, 32, 128, 64, 4, 3),
    ("gfx1201", 2, True, True): MatmulTiles(128, 64, 128, 32, 8, 1),
    ("gfx1201", 2, True, False): MatmulTiles(128, 64, 128, 32, 8, 1),
    ("gfx1201", 2, False, True): MatmulTiles(64, 32, 64, 64, 4, 1),
    ("gfx1201", 2, False, False): MatmulTiles(64, 32, 64, 64, 4, 1),
}

PACKED_MATMUL: dict[tuple[str, int, bool, bool], MatmulTiles] = {
    # As MATMUL, of packed weights.  Measured on an H200: two programs in a multiprocessor, of which one decodes
    # while the other multiplies, are faster than one of twice the columns.
    ("sm_90", 2, True, True): MatmulTiles(128, 64, 128, 64, 4, 3),
    ("sm_90", 2, True, False): MatmulTiles(128, 64, 128, 64, 4, 3),
    ("sm_90", 2, False, True): MatmulTiles(128, 32, 128, 64, 4, 3),
    ("sm_90", 2, False, False): MatmulTiles(128, 32, 128, 64, 4, 3),
    **dict.fromkeys(product(("gfx1201",), (2,), (True,), (False, True)), MatmulTiles(128, 64, 128, 64, 8, 1)),
    **dict.fromkeys(product(("gfx1201",), (2,), (False,), (False, True)), MatmulTiles(64, 32, 64, 64, 4, 1)),
}

FEW_ROWS: dict[tuple[str, int, bool, bool], MatmulTiles] = {
    # (target, bytes of an input element, whether for 32 rows or more, whether 1,024 deep or more)
    # Measured on an H200: bound by reading the weights once, so that many bytes have to be on their way at a time.
    ("sm_90", 2, False, True): MatmulTiles(16, 16, 128, 128, 4, 4),
    ("sm_90", 2, False, False): MatmulTiles(16, 16, 128, 128, 8, 4),
    ("sm_90", 2, True, True): MatmulTiles(16, 16, 256, 64, 4, 3),
    ("sm_90", 2, True, False): MatmulTiles(16, 16, 128, 64, 4, 3),
    **dict.fromkeys(product(("gfx1201",), (2,), (False, True), (False, True)), MatmulTiles(16, 16, 64, 64, 4, 1)),
}


PACKED_FEW_ROWS: dict[tuple[str, int, bool, bool], MatmulTiles] = {
    # As FEW_ROWS, of weights that are packed.  Measured on an H200: two warps decode what four only share.
    **dict.fromkeys(product(("sm_90",), (2,), (False, True), (False, True)), MatmulTiles(16, 16, 64, 256, 2, 3)),
    **dict.fromkeys(product(("gfx1201",), (2,), (False, True), (False, True)), MatmulTiles(16, 16, 64, 64, 4, 1)),
}


def few_row_tiles(target: str, dtype: jnp.dtype, rows: int, depth: int, packed: bool = False) -> MatmulTiles:
    """Tiles of the grouped matmul where each row has an expert of its own, contracted over `depth`."""
    case = target, jnp.dtype(dtype).itemsize, rows >= 32, depth >= 1024
    return (PACKED_FEW_ROWS if packed else FEW_ROWS).get(case, MatmulTiles(16, 16, 32, 32, 4, 1))


@dataclass(frozen=True)
class ProjectionTiles:
    """Sizes of a program that multiplies few rows by a block of columns, powers of two.

    Attributes:
        columns: of the output.
        depth: of the contraction in one step.
        warps, stages: warps of a program, and steps in flight from memory.
    """

    columns: int
    depth: int
    warps: int
    stages: int


def projection_tiles(target: str, dtype: jnp.dtype, width: int, packed: bool = False) -> ProjectionTiles:
    """Tiles of the kernel for few rows and matrices of `width` columns in all; whether any of them is packed.

    Narrow, so that the whole GPU reads, and deep, so that much is on its way; measured on an H200.
    """
    if packed:
        return ProjectionTiles(32, 512, 4, 3) if target == "sm_90" else ProjectionTiles(16, 64, 1, 1)
    if (target, jnp.dtype(dtype).itemsize) == ("sm_90", 2):
        return ProjectionTiles(32, 256, 4, 4) if width > 4096 else ProjectionTiles(16, 512, 4, 4)
    return ProjectionTiles(16, 64, 4, 1)


@dataclass(frozen=True)
class PackedRowTiles:
    """Sizes of a program that multiplies one row by some rows of a packed matrix, powers of two.

    Attributes:
        runs: of 32 bytes that a program reads at a time, of all its rows.
        row_runs: most of them of one row.
        warps: of a program.
    """

    runs: int
    row_runs: int
    warps: int


def packed_row_tiles(target: str) -> PackedRowTiles:
    """Measured on an H200: 64 bytes a thread, and a row of 4,096 nibbles at once."""
    return PackedRowTiles(256, 64, 4) if target == "sm_90" else PackedRowTiles(128, 64, 4)


SMALL_MATMUL = MatmulTiles(32, 32, 32, 32, 4, 1)
"""For targets without an entry, and for float32."""


def matmul_tiles(
    target: str, dtype: jnp.dtype, rows: int, experts: int, depth: int, packed: bool = False
) -> MatmulTiles:
    """Tiles of the grouped matmul for `rows` rows of `dtype` over `experts` experts, contracted over `depth`.

    `MatmulTiles.rows` does not depend on the depth, so that both products of an expert share one table of rows.
    """
    case = target, jnp.dtype(dtype).itemsize, rows >= 128 * experts, depth >= 1024
    return (PACKED_MATMUL if packed else MATMUL).get(case, SMALL_MATMUL)


LEAST_DIVISOR: Final = 16
"""Of a grouped matmul's depth and width: a block of columns begins at a multiple of it."""


def block_columns(most: int, width: int) -> int:
    """Columns of a program of the grouped matmul: a power of two, at most `most` and at most the width.

    Blocks that do not divide the width repeat at most an eighth of it.

    Examples:
        >>> [block_columns(256, width) for width in (768, 2880, 704, 320, 144, 16)]
        [256, 256, 256, 64, 32, 16]
    """
    columns = min(most, 1 << (width.bit_length() - 1))
    while columns > LEAST_DIVISOR and -(-width // columns) * columns > width + width // 8:
        columns //= 2
    return columns
