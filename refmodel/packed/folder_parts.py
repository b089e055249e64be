"""From the packed tensors of Hugging Face folders to a coding and its arrays; matrices become [out, in].

    fp8     weight e4m3 [out, in], weight_scale_inv [out / 128, in / 128]
    awq     qweight int32 [in, out / 8], qzeros int32 [groups, out / 8], scales float16 [groups, out]
    gptq    qweight int32 [in / 8, out], qzeros and scales as awq's, g_idx [in]
    mxfp4   _blocks uint8 [..., out, in / 32, 16], _scales uint8 [..., out, in / 32]

A word has eight numbers: those of gptq in their order, the first lowest; of awq in the order 0, 2, 4, 6, 1, 3, 5, 7.
Each function raises one `ValueError` for shapes and types that are not these, and for rows that the coding cannot hold.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from refmodel.packed.coding import Coding
from refmodel.packed.folder_codings import BLOCK, fp8_blocks, uint4
from refmodel.packed.gguf_blocks import lots, woven
from refmodel.packed.gguf_codings import GGUF_CODINGS
from refmodel.packed.planes import LANES, PAIR

Parts = dict[str, np.ndarray]
_IN_ORDER: Final = (0, 1, 2, 3, 4, 5, 6, 7)
_AWQ_ORDER: Final = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight columns the four bits from 4·i on are of."""


def parts_of_fp8(weight: np.ndarray, scale_inv: np.ndarray) -> tuple[Coding, Parts]:
    """Of 8-bit floats with a scale for each block of 128 x 128."""
    blocks = tuple(-(-side // BLOCK) for side in weight.shape)
    coding = fp8_blocks()
    fine = weight.ndim == 2 and weight.dtype == coding.byte_dtype and scale_inv.shape == blocks
    if not (fine and coding.holds(weight.shape[1])):
        accepted = "e4m3 [out, in], in a multiple of 128, with scales [out / 128, in / 128]"
        raise _refused("fp8", accepted, weight=weight, weight_scale_inv=scale_inv)
    return coding, {"byte": weight, "scale": scale_inv.astype(np.float32)}


def parts_of_awq(qweight: np.ndarray, qzeros: np.ndarray, scales: np.ndarray) -> tuple[Coding, Parts]:
    """Of AWQ's tensors as its GEMM version lays them out."""
    depth, words = qweight.shape if qweight.ndim == 2 else (0, 0)
    coding = _grouped("awq", depth, 8 * words, qweight, qzeros, scales)
    low = np.empty((8 * words, depth // PAIR, LANES), np.uint8)
    for pair, (first, second) in enumerate(qweight.view(np.uint32).reshape(depth // PAIR, 2, LANES, words)):
        for place, column in enumerate(_AWQ_ORDER):
            low[column::8, pair] = (_nibble(first, place) | _nibble(second, place) << 4).T
    low = low.reshape(8 * words, depth // 2)
    return coding, {"low": low, **_shared(_eight_columns(qzeros, _AWQ_ORDER), scales)}


def parts_of_gptq(
    qweight: np.ndarray, qzeros: np.ndarray, scales: np.ndarray, g_idx: np.ndarray | None = None, *, version: int = 1
) -> tuple[Coding, Parts]:
    """Of GPTQ's tensors, whose zero points are stored less 1 in version 1 of the format, so that 15 stands for 0.

    Also refuses `g_idx` of columns that were put in another order (act-order, desc_act).
    """
    words, rows = qweight.shape if qweight.ndim == 2 else (0, 0)
    depth = 8 * words
    coding = _grouped("gptq", depth, rows, qweight, qzeros, scales)
    if g_idx is not None and not np.array_equal(g_idx, np.arange(depth) // coding.group):
        raise ValueError("gptq with act-order: g_idx is not in order; accepted: a model quantised without desc_act")
    low = np.empty((rows, depth // 2), np.uint8)
    for lot in lots(rows, depth // 2):
        low[lot] = _neighbours_apart(np.ascontiguousarray(qweight[:, lot].T).view(np.uint8))
    zero = _eight_columns(qzeros, _IN_ORDER)
    return coding, {"low": low, **_shared(zero + 1 & 15 if version == 1 else zero, scales)}


def parts_of_mxfp4(blocks: np.ndarray, scales: np.ndarray) -> tuple[Coding, Parts]:
    """Of gpt-oss's experts, which may have axes in front."""
    coding, shape = GGUF_CODINGS["mxfp4"], scales.shape
    fine = len(shape) > 1 and blocks.shape == (*shape, 16) and blocks.dtype == scales.dtype == np.uint8
    if not (fine and coding.holds(32 * shape[-1])):
        accepted = "uint8 [..., out, in / 32, 16], in a multiple of 64, with scales without the last axis"
        raise _refused("mxfp4", accepted, _blocks=blocks, _scales=scales)
    low = np.empty((*shape[:-1], 16 * shape[-1]), np.uint8)
    for matrix in np.ndindex(*shape[:-2]):
        for lot in lots(shape[-2], low.shape[-1]):
            of_lot = np.ascontiguousarray(blocks[matrix][lot])
            low[matrix][lot] = _neighbours_apart(of_lot.reshape(len(of_lot), -1))
    return coding, {"low": low, "scale": scales}


def _grouped(name: str, depth: int, rows: int, *tensors: np.ndarray) -> Coding:
    """The coding of three tensors that hold a matrix of such a size."""
    qweight, qzeros, scales = tensors
    groups = scales.shape[0] if scales.ndim == 2 else 0
    group = depth // groups if groups and depth % groups == 0 else 0
    shapes = qzeros.shape == (groups, rows // 8) and scales.shape == (groups, rows) and rows % 8 == 0
    types = qweight.dtype == qzeros.dtype == np.int32 and scales.dtype == np.float16
    if shapes and types and group and group % 16 == 0 and uint4(group).holds(depth):
        return uint4(group)
    layout = "[in, out / 8]" if name == "awq" else "[in / 8, out]"
    groups_of = "groups of a multiple of 16 that divide in, a multiple of 64"
    accepted = f"int32 {layout} and [groups, out / 8], float16 [groups, out]; {groups_of}"
    raise _refused(name, accepted, qweight=qweight, qzeros=qzeros, scales=scales)


def _refused(name: str, accepted: str, **tensors: np.ndarray) -> ValueError:
    found = ", ".join(f"{one} {tensor.dtype}{list(tensor.shape)}" for one, tensor in tensors.items())
    return ValueError(f"{name} has {found}; accepted: {accepted}")


def _nibble(words: np.ndarray, place: int) -> np.ndarray:
    return (words >> np.uint32(4 * place) & np.uint32(15)).astype(np.uint8)


def _eight_columns(words: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """uint8 [groups, out] of int32 [groups, out / 8]."""
    found = np.empty((len(words), 8 * words.shape[1]), np.uint8)
    for place, column in enumerate(order):
        found[:, column::8] = _nibble(words.view(np.uint32), place)
    return found


def _shared(zero: np.ndarray, scales: np.ndarray) -> Parts:
    """The fields of `Uint4` of zero points and scales [groups, out]."""
    even = np.pad(zero, ((0, len(zero) % 2), (0, 0)))
    return {"zero": np.ascontiguousarray((even[0::2] | even[1::2] << 4).T), "scale": np.ascontiguousarray(scales.T)}


def _neighbours_apart(rows: np.ndarray) -> np.ndarray:
    """`low` of contiguous uint8 [rows, in / 2] whose bytes have two neighbours, the first in the low half."""
    even, odd = woven(rows, 16).reshape(-1, 2, 16).astype("<u2").swapaxes(0, 1)
    return (even | odd << 8).view(np.uint8).reshape(rows.shape)
