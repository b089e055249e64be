"""The formats in which safetensors files hold weights, an open registry.

GGUF files have their own, whose decoding is that of the package `gguf`.  What can stay packed says in which coding, and
makes its arrays (`refmodel.packed.folder_parts`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import jax.numpy as jnp
import numpy as np

from attention.registry import Registry
from refmodel.checkpoint.placement import Shape
from refmodel.packed.coding import Coding
from refmodel.packed.folder_codings import BLOCK, fp8_blocks, uint4
from refmodel.packed.folder_parts import Parts, parts_of_awq, parts_of_fp8, parts_of_gptq, parts_of_mxfp4
from refmodel.packed.gguf_codings import GGUF_CODINGS
from refmodel.packed.planes import LANES


def _broadcast(numbers: Shape, *beside: Shape) -> bool:
    try:
        return np.broadcast_shapes(numbers, *beside) == numbers
    except ValueError:
        return False


_FLOATS: Final = ("F32", "F16", "BF16")
"""That scales are stored as."""


@dataclass(frozen=True)
class WeightFormat:
    """How a stored tensor becomes numbers.

    Attributes:
        name: the stored type, as the file's header spells it: "BF16"; behind it, where config.json names a method of
            quantisation whose layout is the format's, that method: "I32 awq".
        decode: from the stored array, and those stored beside it, to an array of floats.
        beside: what the names of tensors that belong to it end in, after its own name: ("_scale",).
        beside_types: the stored types that each of those may have, asked before anything is read (default: any).
        ending: what its own name ends in and those beside it do not; tensors of other names are not of the format.
        stored_as: what the stored name of a matrix ends in, where that is not ".weight": ".qweight".
        per_item: numbers that one stored item holds along the last axis; 2 for 4-bit numbers in bytes.
        fits: whether the shapes of those beside it go with the shape of the numbers, asked before anything is read
            (default: whether they broadcast to it).
        keeps: from the shapes of the numbers and of those beside, the coding in which it can stay packed, if any.
        parts: from the stored arrays, that coding and its arrays.

    Examples:
        >>> import numpy as np
        >>> from refmodel.checkpoint.formats import WeightFormat
        >>> scaled = WeightFormat("I8", lambda stored, scale: stored * scale, beside=("_scale",))
        >>> scaled.decode(np.array([[3, -2]], np.int8), np.array([[0.5]], np.float32))
        array([[ 1.5, -1. ]], dtype=float32)
    """

    name: str
    decode: Callable[..., np.ndarray] = lambda stored: stored
    beside: tuple[str, ...] = ()
    beside_types: tuple[tuple[str, ...], ...] = ()
    ending: str = ""
    stored_as: str = ""
    per_item: int = 1
    fits: Callable[..., bool] = _broadcast
    keeps: Callable[..., Coding | None] = lambda *shapes: None
    parts: Callable[..., tuple[Coding, Parts]] | None = None

    def __post_init__(self) -> None:
        if self.stored_as and not self.stored_as.startswith("."):
            raise ValueError(f"stored_as ends a name from its dot on, such as '.qweight', got {self.stored_as!r}")

    def names_beside(self, name: str) -> list[str]:
        """Of the tensors that belong to the one of that name."""
        return [name.removesuffix(self.ending) + end for end in self.beside]

    def shape(self, stored: Shape) -> Shape:
        """Of the numbers, from that of the stored items."""
        return (*stored[:-1], stored[-1] * self.per_item) if stored else stored


def _if_held(coding: Coding, numbers: Shape) -> Coding | None:
    return coding if coding.holds(numbers[-1]) else None


def _by_blocks(stored_oi: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """float32 [out, in]: each block of 128 x 128 times its scale (DeepSeek-V3, 2412.19437; Qwen3's FP8 folders)."""
    scaled_oi = stored_oi.astype(np.float32)
    for row, scale_i in enumerate(scale.astype(np.float32)):
        scaled_oi[row * BLOCK : (row + 1) * BLOCK] *= np.repeat(scale_i, BLOCK)[: stored_oi.shape[1]]
    return scaled_oi


def _are_blocks(numbers: Shape, scale: Shape) -> bool:
    """Whether there is a scale for each block of a matrix, those at its ends among them."""
    return len(numbers) == 2 and scale == tuple(-(-side // BLOCK) for side in numbers)


class Mxfp4(WeightFormat):
    """4-bit floats in blocks of 32 along the last axis, two in a byte, the first in its low half (OCP MX, 2310.10537).

    "_blocks" [..., D / 32, 16] and "_scales" [..., D / 32], whose byte s stands for 2^(s - 127): numbers [..., D].
    """

    def shape(self, stored: Shape) -> Shape:
        *rest, blocks, items = stored if len(stored) > 1 else (0, *stored)
        return (*rest, blocks * items * self.per_item)


def _from_mxfp4(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """bfloat16, which holds each of them: looked up two at a time, an item of the first axis after the other."""
    two_each = np.empty(blocks.shape, np.uint32)
    for numbers, items, scale in zip(two_each, blocks, scales, strict=True):
        np.take(_every_pair(), scale.astype(np.intp)[..., None] << 8 | items, out=numbers, mode="clip")
    return two_each.view(jnp.bfloat16).reshape(*blocks.shape[:-2], -1)


@functools.cache
def _every_pair() -> np.ndarray:
    """The two bfloat16 of every byte under every scale as one number, at scale · 256 + byte.

    A half is a sign, two bits of exponent and one of mantissa.  Twice each number is multiplied with half of its scale,
    which float32 holds, as it does not 2^128.
    """
    twice = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.float32)
    halves = np.stack([np.arange(256) & 15, np.arange(256) >> 4], axis=-1)
    with np.errstate(over="ignore"):
        scaled = np.concatenate([twice, -twice])[halves] * np.ldexp(np.float32(1), np.arange(256) - 128)[:, None, None]
    return scaled.astype(jnp.bfloat16).view(np.uint32).ravel()


def _fit_mxfp4(numbers: Shape, scales: Shape) -> bool:
    return len(numbers) > 1 and scales == (*numbers[:-1], numbers[-1] // 32) and numbers[-1] % 32 == 0


class FourBits(WeightFormat):
    """Eight 4-bit numbers in a word, of matrices stored as [in, out], whose rows are packed, or their columns."""

    def shape(self, stored: Shape) -> Shape:
        if len(stored) != 2:
            return stored
        rows, columns = stored
        return (8 * columns, rows) if self.name == "I32 awq" else (columns, 8 * rows)


def _fit_groups(numbers: Shape, zeros: Shape, scales: Shape, *index: Shape) -> bool:
    """Whether zero points and scales are of groups that divide the rows, and the groups' index of all columns."""
    if len(numbers) != 2 or len(scales) != 2 or not scales[0] or numbers[1] % scales[0]:
        return False
    groups, out = scales
    return out == numbers[0] and zeros == (groups, out // 8) and all(one == numbers[1:] for one in index)


def _keeps_groups(numbers: Shape, zeros: Shape, scales: Shape, *index: Shape) -> Coding | None:
    group = numbers[1] // scales[0]
    return None if group % 16 else _if_held(uint4(group), numbers)


def _four_bits(method: str, parts: Callable[..., tuple[Coding, Parts]], *index: str) -> WeightFormat:
    return FourBits(
        f"I32 {method}", lambda *stored: _from_zero_points(parts(*stored)[1]), beside=("qzeros", "scales", *index),
        beside_types=(("I32",), _FLOATS, *(("I32",) for _ in index)), ending="weight", stored_as=".qweight",
        fits=_fit_groups,
        keeps=_keeps_groups, parts=parts,
    )  # fmt: skip


def _from_zero_points(parts: Parts) -> np.ndarray:
    """float32 [out, in] of the arrays of `refmodel.packed.folder_codings.Uint4`."""
    low, scale = parts["low"], parts["scale"].astype(np.float32)
    halves = np.array([[0], [4]], np.uint8)
    level = (low.reshape(len(low), -1, 1, LANES) >> halves & 15).reshape(*scale.shape, -1)
    zero = (parts["zero"][..., None] >> halves.ravel() & 15).reshape(len(low), -1)[:, : scale.shape[1]]
    return ((level.astype(np.float32) - zero[..., None]) * scale[..., None]).reshape(len(low), -1)


WEIGHT_FORMATS: Final[Registry[WeightFormat]] = Registry(
    "weight format",
    lambda one: one.name,
    (
        *map(WeightFormat, ("F32", "F16", "BF16", "F64")),
        WeightFormat(
            "F8_E4M3", _by_blocks, beside=("_scale_inv",), beside_types=(_FLOATS,), fits=_are_blocks,
            keeps=lambda numbers, scale: _if_held(fp8_blocks(), numbers), parts=parts_of_fp8,
        ),
        Mxfp4(
            "U8", _from_mxfp4, beside=("_scales",), beside_types=(("U8",),), ending="_blocks", per_item=2,
            fits=_fit_mxfp4, keeps=lambda numbers, scales: _if_held(GGUF_CODINGS["mxfp4"], numbers),
            parts=parts_of_mxfp4,
        ),
        _four_bits("awq", parts_of_awq),
        _four_bits("gptq", partial(parts_of_gptq, version=1), "g_idx"),
        _four_bits("gptq_v2", partial(parts_of_gptq, version=2), "g_idx"),
    ),
)  # fmt: skip
"""By stored type; `WEIGHT_FORMATS.register(...)` adds one."""


def format_of(name: str, dtype: str, method: str = "") -> WeightFormat | None:
    """Of a tensor by its name and stored type, and the method of quantisation that config.json names; None for none."""
    found = WEIGHT_FORMATS.get(f"{dtype} {method}") or WEIGHT_FORMATS.get(dtype)
    return found if found and name.endswith(found.ending) else None
