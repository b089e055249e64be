"""The tiles of every kernel of attention on every target: the one place where they are chosen.

Those of products of weights are in `attention.kernels.matmul_tiles`.
"""

from __future__ import annotations

from dataclasses import dataclass
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
