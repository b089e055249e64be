"""The tiles of every kernel on every target: the one place where they are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Final

import jax.numpy as jnp

TRITON_HEAD_SIZES: Final = 16, 32, 64, 128, 256
"""That the Pallas-Triton kernels are made for."""

MOSAIC_KEYS: Final = MappingProxyType({64: 128, 128: 128, 256: 64})
"""Keys of a tile of the kernel for Hopper, by the head sizes that it is made for.

Of heads of 256 a result of 64 queries takes half of a warpgroup's registers; and two tiles each of 64 keys and values,
of 32 KB, are what shared memory has room for beside the queries.
"""

MOSAIC_ROWS: Final = 64
"""Queries of a warpgroup of that kernel: what one instruction of Hopper's tensor cores takes."""


@dataclass(frozen=True)
class AttentionTiles:
    """Sizes of one program of the attention kernel, powers of two.

    Attributes:
        rows: rows of queries in a program; a row is one query in one head.
        keys: keys in a tile.
        warps, stages: warps of a program, and tiles in flight from memory.
        ptx: the target takes PTX, whose 2**x that flushes results below 2**-126 to zero is one instruction, not four.
        v_by_column: V is read from a copy [B, K, H, S]: for a matrix unit that wants columns of it in registers, which
            the compiler would otherwise gather from LDS 16 bits at a time.
    """

    rows: int
    keys: int
    warps: int
    stages: int
    ptx: bool = False
    v_by_column: bool = False


@dataclass(frozen=True)
class DecodeTiles:
    """Sizes of the kernel for few queries.

    Attributes:
        keys: keys in a tile, a power of two.
        programs: about as many as the device runs at once; the keys are divided among them.
        warps, stages: warps of a program, and tiles in flight from memory.
    """

    keys: int
    programs: int
    warps: int
    stages: int


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


ATTENTION: dict[tuple[str, int, int], AttentionTiles] = {
    # (target, bytes of an input element, head size)
    # Measured on an H100: at head size 128, 128x128 runs at 90 % of this rate, for it reads every key twice as often.
    ("sm_90", 2, 64): AttentionTiles(128, 64, 8, 3, ptx=True),
    ("sm_90", 2, 128): AttentionTiles(256, 64, 8, 3, ptx=True),
    ("sm_90", 2, 256): AttentionTiles(128, 64, 8, 2, ptx=True),
    # 65,536 bytes of LDS and 256 registers a lane; each compiles without a spill for bf16 and f16 and groups of 1, 4
    # and 8 (`make lower`).  At head size 128, 64x64 with 4 warps spills, and so does 128x128 with 2 stages; at 256 all
    # tiles that were tried spill with V by column.
    ("gfx1201", 2, 64): AttentionTiles(128, 64, 8, 1, v_by_column=True),
    ("gfx1201", 2, 128): AttentionTiles(128, 32, 8, 1, v_by_column=True),
    ("gfx1201", 2, 256): AttentionTiles(64, 16, 8, 1),
}

SMALL_ATTENTION = AttentionTiles(32, 32, 4, 1)
"""For targets without an entry, and for float32: fits wherever Triton runs."""


def attention_tiles(target: str, dtype: jnp.dtype, head_dim: int) -> AttentionTiles:
    """Tiles of the attention kernel for inputs of `dtype` with heads of `head_dim` on `target`."""
    return ATTENTION.get((target, jnp.dtype(dtype).itemsize, head_dim), SMALL_ATTENTION)


BLOCKS: dict[tuple[str, int, int], AttentionTiles] = {
    # (target, bytes of an input element, head size), where blocks that queries chose want others than spans.
    ("sm_90", 2, 128): AttentionTiles(128, 64, 4, 2, ptx=True),  # measured: 256x64 in 8 warps runs at 92 % of its rate
}


def block_tiles(target: str, dtype: jnp.dtype, head_dim: int) -> AttentionTiles:
    """Tiles of the kernel for chosen blocks, as `attention_tiles`."""
    return BLOCKS.get((target, jnp.dtype(dtype).itemsize, head_dim)) or attention_tiles(target, dtype, head_dim)


DECODE: dict[tuple[str, int, int], DecodeTiles] = {
    # (target, bytes of an input element, head size)
    ("sm_90", 2, 64): DecodeTiles(128, 264, 4, 3),
    ("sm_90", 2, 128): DecodeTiles(64, 264, 4, 3),
    ("sm_90", 2, 256): DecodeTiles(32, 264, 4, 3),
    ("gfx1201", 2, 64): DecodeTiles(64, 128, 4, 1),
    ("gfx1201", 2, 128): DecodeTiles(32, 128, 4, 1),
    ("gfx1201", 2, 256): DecodeTiles(16, 128, 4, 1),
}

SMALL_DECODE = DecodeTiles(16, 64, 4, 1)
"""For targets without an entry, and for float32."""


def decode_tiles(target: str, dtype: jnp.dtype, head_dim: int) -> DecodeTiles:
    """Sizes of the kernel for few queries, as `attention_tiles`."""
    return DECODE.get((target, jnp.dtype(dtype).itemsize, head_dim), SMALL_DECODE)


KEY_MASS: dict[tuple[str, int, int], AttentionTiles] = {
    # (target, bytes of an input element, head size)
    # Each compiles without a spill for groups of 2 and 8.  At head size 128 an H100 needs as long for 2**x as for the
    # product: 64x128 in 8 warps leaves registers for a second program, which multiplies meanwhile.
    ("sm_90", 2, 64): AttentionTiles(64, 128, 8, 3, ptx=True),
    ("sm_90", 2, 128): AttentionTiles(64, 128, 8, 3, ptx=True),
    ("sm_90", 2, 256): AttentionTiles(64, 128, 8, 3, ptx=True),
    # The keys stay in registers: at head size 128, 128x128 spills, and so does 64x128 with 4 warps or at 256.
    ("gfx1201", 2, 64): AttentionTiles(64, 128, 8, 1),
    ("gfx1201", 2, 128): AttentionTiles(64, 128, 8, 1),
    ("gfx1201", 2, 256): AttentionTiles(64, 64, 8, 1),
}


def key_mass_tiles(target: str, dtype: jnp.dtype, head_dim: int) -> AttentionTiles:
    """Tiles of the kernel that sums probabilities by key, as `attention_tiles`."""
    small = SMALL_ATTENTION if jnp.dtype(dtype).itemsize == 2 else AttentionTiles(16, 16, 4, 1)  # float32 spills sooner
    return KEY_MASS.get((target, jnp.dtype(dtype).itemsize, head_dim), small)


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

FEW_ROWS: dict[tuple[str, int, bool, bool], MatmulTiles] = {
    # (target, bytes of an input element, whether for 32 rows or more, whether 1,024 deep or more)
    # Measured on an H200: bound by reading the weights once, so that many bytes have to be on their way at a time.
    ("sm_90", 2, False, True): MatmulTiles(16, 16, 128, 128, 4, 4),
    ("sm_90", 2, False, False): MatmulTiles(16, 16, 128, 128, 8, 4),
    ("sm_90", 2, True, True): MatmulTiles(16, 16, 256, 64, 4, 3),
    ("sm_90", 2, True, False): MatmulTiles(16, 16, 128, 64, 4, 3),
    **dict.fromkeys(product(("gfx1201",), (2,), (False, True), (False, True)), MatmulTiles(16, 16, 64, 64, 4, 1)),
}


def few_row_tiles(target: str, dtype: jnp.dtype, rows: int, depth: int) -> MatmulTiles:
    """Tiles of the grouped matmul where each row has an expert of its own, contracted over `depth`."""
    case = target, jnp.dtype(dtype).itemsize, rows >= 32, depth >= 1024
    return FEW_ROWS.get(case, MatmulTiles(16, 16, 32, 32, 4, 1))


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


def projection_tiles(target: str, dtype: jnp.dtype, width: int) -> ProjectionTiles:
    """Tiles of the kernel for few rows and matrices of `width` columns in all.

    Narrow, so that the whole GPU reads, and deep, so that much is on its way; measured on an H200.
    """
    if (target, jnp.dtype(dtype).itemsize) == ("sm_90", 2):
        return ProjectionTiles(32, 256, 4, 4) if width > 4096 else ProjectionTiles(16, 512, 4, 4)
    return ProjectionTiles(16, 64, 4, 1)


SMALL_MATMUL = MatmulTiles(32, 32, 32, 32, 4, 1)
"""For targets without an entry, and for float32."""


def matmul_tiles(target: str, dtype: jnp.dtype, rows: int, experts: int, depth: int) -> MatmulTiles:
    """Tiles of the grouped matmul for `rows` rows of `dtype` over `experts` experts, contracted over `depth`.

    `MatmulTiles.rows` does not depend on the depth, so that both products of an expert share one table of rows.
    """
    case = target, jnp.dtype(dtype).itemsize, rows >= 128 * experts, depth >= 1024
    return MATMUL.get(case, SMALL_MATMUL)


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
