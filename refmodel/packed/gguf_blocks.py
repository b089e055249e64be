"""From the blocks of GGUF files to the arrays of their codings, a lot of rows that a cache holds at a time.

Where a type has two numbers in a byte, they are 16 apart in blocks of 32 (Q6_K: 64 apart in halves of 128; Q4_K and
Q5_K: 32 apart, as in `refmodel.packed.planes`); two neighbouring runs of such bytes become two others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from refmodel.packed.coding import Coding
from refmodel.packed.gguf_codings import GGUF_CODINGS

Kind = GGMLQuantizationType
_LOT_BYTES: Final = 2**19
_NIBBLES: Final = np.uint64(0x0F0F0F0F0F0F0F0F)
_FOUR: Final = np.uint64(4)


def _layout(*items: tuple[str, str]) -> np.dtype:
    return np.dtype([*items])


_LAYOUTS: Final[Mapping[GGMLQuantizationType, np.dtype]] = MappingProxyType({
    Kind.Q4_0: _layout(("scale", "<f2"), ("q", "V16")),
    Kind.Q4_1: _layout(("scale", "<f2"), ("minimum", "<f2"), ("q", "V16")),
    Kind.Q5_0: _layout(("scale", "<f2"), ("q_high", "<u4"), ("q", "V16")),
    Kind.Q5_1: _layout(("scale", "<f2"), ("minimum", "<f2"), ("q_high", "<u4"), ("q", "V16")),
    Kind.Q8_0: _layout(("scale", "<f2"), ("q", "V32")),
    Kind.Q4_K: _layout(("d", "<f2"), ("dmin", "<f2"), ("scales", "V12"), ("q", "V128")),
    Kind.Q5_K: _layout(("d", "<f2"), ("dmin", "<f2"), ("scales", "V12"), ("q_high", "V32"), ("q", "V128")),
    Kind.Q6_K: _layout(("q", "V128"), ("q_high", "V64"), ("scale", "V16"), ("d", "<f2")),
    Kind.IQ4_NL: _layout(("scale", "<f2"), ("q", "V16")),
    Kind.IQ4_XS: _layout(("d", "<f2"), ("scale_high", "<u2"), ("scale_low", "<u4"), ("q", "V128")),
    Kind.MXFP4: _layout(("scale", "u1"), ("q", "V16")),
})  # fmt: skip
"""Of a block (ggml-common.h); what a coding keeps as it is has the name of its field."""


def gguf_coding(kind: GGMLQuantizationType | int) -> Coding | None:
    """In which numbers of a type are kept; None where they have to be expanded."""
    return GGUF_CODINGS.get(kind.name.lower()) if isinstance(kind, GGMLQuantizationType) else None


def parts_of_blocks(
    kind: GGMLQuantizationType, rows: np.ndarray, out: Mapping[str, np.ndarray] | None = None
) -> Mapping[str, np.ndarray]:
    """The arrays of `gguf_coding(kind)` of stored rows, uint8 [..., rows, bytes of a row]; those of `out`, if given.

    Raises `ValueError` for a type without a coding, rows that are no whole blocks, and a depth that it cannot hold.
    """
    if (coding := gguf_coding(kind)) is None:
        raise ValueError(f"{kind.name} has no coding; accepted: {', '.join(GGUF_CODINGS)}")
    numbers, block_bytes = GGML_QUANT_SIZES[kind]
    *lead, n_rows, row_bytes = rows.shape
    if row_bytes % block_bytes:
        raise ValueError(f"{coding.name} has blocks of {block_bytes} bytes; rows of {row_bytes} bytes end within one")
    shapes = coding.shapes(n_rows, row_bytes // block_bytes * numbers)
    if out is None:
        out = {name: np.empty((*lead, *shape), dtype) for name, (shape, dtype) in shapes.items()}
    for matrix in np.ndindex(*lead):
        for lot in lots(n_rows, row_bytes):
            blocks = np.ascontiguousarray(rows[matrix][lot]).view(_LAYOUTS[kind])
            for name, part in _of_lot(kind, coding, blocks).items():
                out[name][matrix][..., lot, :] = part.view(out[name].dtype)
    return out


def lots(n_rows: int, row_bytes: int) -> Iterator[slice]:
    """Rows that are converted together."""
    step = max(_LOT_BYTES // max(row_bytes, 1), 1)
    for start in range(0, n_rows, step):
        yield slice(start, start + step)


def _of_lot(kind: GGMLQuantizationType, coding: Coding, blocks: np.ndarray) -> dict[str, np.ndarray]:
    """Of blocks [rows, blocks of a row]."""
    n_rows, names = len(blocks), blocks.dtype.names or ()
    parts = {name: np.ascontiguousarray(blocks[name]) for name in coding.fields if name in names}
    bytes_of = {name: np.ascontiguousarray(blocks[name]).view(np.uint8) for name in ("q", "q_high") if name in names}
    if "scales" in names:
        parts["low_bits"], parts["high_bits"] = _k_scales(np.ascontiguousarray(blocks["scales"]))
    if coding.bits == 8:
        return parts | {"byte": bytes_of["q"]}
    if kind in (Kind.Q4_K, Kind.Q5_K):
        parts["low"] = bytes_of["q"]
    else:
        parts["low"] = woven(bytes_of["q"], 32 if kind == Kind.Q6_K else 16).reshape(n_rows, -1)
    if kind in (Kind.Q5_0, Kind.Q5_1):
        parts["high"] = bytes_of["q_high"].view("<u4")[None]
    elif kind == Kind.Q5_K:
        parts["high"] = _bit_words(bytes_of["q_high"], range(8)).reshape(1, n_rows, -1)
    elif kind == Kind.Q6_K:
        planes = [_bit_words(bytes_of["q_high"], range(plane, 8, 2)).reshape(n_rows, -1) for plane in range(2)]
        parts["high"] = np.stack(planes)
    return parts


def woven(nibbles: np.ndarray, run: int) -> np.ndarray:
    """Contiguous uint8, from runs A, B of `run` bytes to runs of A's low halves below B's, and of the high halves."""
    first, second = (np.ascontiguousarray(one).view(np.uint64) for one in nibbles.view(f"V{run}").reshape(-1, 2).T)
    low = first & _NIBBLES | (second & _NIBBLES) << _FOUR
    high = first >> _FOUR & _NIBBLES | second & ~_NIBBLES
    out = np.empty((len(first) * 8 // run, 2), f"V{run}")
    out[:, 0], out[:, 1] = low.view(f"V{run}"), high.view(f"V{run}")
    return out.view(np.uint8)


def _bit_words(column: np.ndarray, bits: range) -> np.ndarray:
    """uint32 [32s of bytes, bits]: bit i of a word is that bit of the i-th of 32 neighbouring bytes."""
    each = [np.packbits(column & np.uint8(1 << bit), bitorder="little").view("<u4") for bit in bits]
    return np.stack(each, axis=-1)


def _k_scales(scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`low_bits` and `high_bits` of `KQuant` of the twelve bytes for eight groups.

    Bytes 0 .. 3 have six bits of scale g and the high two of scale g + 4, bytes 4 .. 7 the same of minima, bytes
    8 .. 11 the low four of scale g + 4 below those of minimum g + 4.
    """
    words = scales.view("<u4").reshape(*scales.shape, 3)
    scale, minimum, last = (np.ascontiguousarray(words[..., i]) for i in range(3))
    low = np.stack([scale & 0x0F0F0F0F | (minimum & 0x0F0F0F0F) << 4, last], axis=-1)
    first = scale >> 4 & 0x03030303 | minimum >> 2 & 0x0C0C0C0C
    second = scale >> 6 & 0x03030303 | minimum >> 4 & 0x0C0C0C0C
    return low.view(np.uint8).reshape(len(scales), -1), first | second << 4
