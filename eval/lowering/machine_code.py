"""RDNA machine code as a list of instructions: where each begins, what kind it is, where it branches.

Only lengths and kinds are read, which the encoding alone tells (AMD RDNA3 and RDNA4 instruction set guides, chapter
"Instruction formats"); names of operands are left to a disassembler.  A word that belongs to no format raises, so that
a count is never taken from a stream that was lost.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

MACS_OF_WMMA: Final = 16**3
_LITERAL: Final = 255
_EXTENDED: Final = (_LITERAL, 233, 234, 250)  # a literal, or a lane permutation: one more word
_BRANCHES: Final = range(0x20, 0x27)
_MATRIX: Final = range(0x40, 0x60)  # of VOP3P: WMMA and its sparse form
_LDS_LOAD_BITS: Final = MappingProxyType(
    {
        0x36: 32,
        0x37: 64,
        0x38: 64,
        0x39: 8,
        0x3A: 8,
        0x3B: 16,
        0x3C: 16,
        0x76: 64,
        0x77: 128,
        0x78: 128,
        0xFE: 96,
        0xFF: 128,
    }
    | dict.fromkeys(range(0xA2, 0xA6), 8)
    | dict.fromkeys(range(0xA6, 0xA8), 16)
)
_LDS_STORES: Final = frozenset({0x0D, 0x0E, 0x0F, 0x1E, 0x1F, 0x4D, 0x4E, 0x4F, 0xA0, 0xA1, 0xDE, 0xDF})

# The six leading bits of the formats that take two words; gfx12 gave memory instructions three.
_TWO_WORDS_12: Final = MappingProxyType({0b111101: "scalar", 0b111110: "memory"})
_TWO_WORDS_11: Final = MappingProxyType(
    {0b111101: "scalar", 0b111110: "memory", 0b110111: "memory", 0b111000: "memory", 0b111010: "memory"}
)
_THREE_WORDS_12: Final = frozenset({0b110001, 0b111011, 0b110100, 0b111001})


@dataclass(frozen=True)
class Instruction:
    """`kind` is matrix, vector, lds_load, lds_store, lds, memory, scalar, branch or wait (hints and waits, which do no
    work); `bits` of an LDS load per lane; `target` of a branch; `macs` of a matrix
    instruction: its multiply-accumulates."""

    address: int
    kind: str
    bits: int = 0
    target: int | None = None
    macs: int = 0


def decode(code: bytes, gfx: str) -> list[Instruction]:
    """The instructions of a kernel's machine code, addresses counted from its start.

    Raises `ValueError` for an architecture other than gfx11 and gfx12, or for a word of no known format.
    """
    if gfx[:5] not in ("gfx11", "gfx12"):
        raise ValueError(f"machine code of {gfx} is not read; of gfx11.. and gfx12.. it is")
    return list(_instructions(struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4]), gfx[:5] == "gfx12"))


def listing(code: bytes, instructions: list[Instruction]) -> str:
    """Machine code as lines of address, kind and words; a branch says where it goes."""
    ends = [one.address for one in instructions[1:]] + [len(code) // 4 * 4]
    lines = []
    for one, end in zip(instructions, ends, strict=True):
        words = struct.unpack_from(f"<{(end - one.address) // 4}I", code, one.address)
        target = f" -> {one.target:#06x}" if one.target is not None else ""
        lines.append(f"{one.address:#06x}  {one.kind:<10}{' '.join(f'{word:08x}' for word in words)}{target}")
    return "\n".join(lines) + "\n"


def _instructions(words: tuple[int, ...], is_12: bool) -> Iterator[Instruction]:
    at = 0
    while at < len(words):
        word, second = words[at], words[at + 1] if at + 1 < len(words) else 0
        length, kind, bits, target = _one(word, second, is_12, at)
        yield Instruction(4 * at, kind, bits, target, MACS_OF_WMMA if kind == "matrix" else 0)
        at += length


def _one(word: int, second: int, is_12: bool, at: int) -> tuple[int, str, int, int | None]:
    """Words, kind, bits and branch target of the instruction that starts with `word`."""
    if word >> 31 == 0:
        return 1 + _short_vector_extra(word), "vector", 0, None
    if word >> 30 == 0b10:
        return _scalar(word, at)
    format6 = word >> 26
    if format6 == 0b110101:  # VOP3
        return 2 + _long_vector_extra(second), "vector", 0, None
    if word >> 24 == 0xCC:  # VOP3P
        kind = "matrix" if (word >> 16 & 0x7F) in _MATRIX else "vector"
        return 2 + _long_vector_extra(second), kind, 0, None
    if format6 == 0b110010:  # VOPD, two operations at once
        x, y = word >> 22 & 0xF, word >> 17 & 0x1F
        return 2 + (_LITERAL in (word & 0x1FF, second & 0x1FF) or {x, y} & {1, 2} != set()), "vector", 0, None
    if format6 == 0b110110:
        op = word >> 18 & 0xFF
        kind = "lds_load" if op in _LDS_LOAD_BITS else "lds_store" if op in _LDS_STORES else "lds"
        return 2, kind, _LDS_LOAD_BITS.get(op, 0), None
    if word >> 24 == 0xCD:
        return 2, "vector", 0, None
    if word >> 24 == 0xCE:
        return 1, "lds", 0, None
    if is_12 and format6 in _THREE_WORDS_12:
        return 3, "memory", 0, None
    two_words = _TWO_WORDS_12 if is_12 else _TWO_WORDS_11
    if format6 not in two_words:
        raise ValueError(f"machine code at byte {4 * at}: {word:#010x} belongs to no instruction format that is known")
    return 2, two_words[format6], 0, None


def _short_vector_extra(word: int) -> int:
    """VOP1, VOP2, VOPC: one more word for a literal, also of the multiply-adds that always carry one."""
    return (word & 0x1FF) in _EXTENDED or (word >> 25 & 0x3F) in (0x2C, 0x2D, 0x37, 0x38)


def _long_vector_extra(second: int) -> int:
    sources = (second & 0x1FF, second >> 9 & 0x1FF, second >> 18 & 0x1FF)
    return sources[0] in _EXTENDED or _LITERAL in sources


def _scalar(word: int, at: int) -> tuple[int, str, int, int | None]:
    if word >> 23 == 0b101111111:  # SOPP
        if (word >> 16 & 0x7F) not in _BRANCHES:
            return 1, "wait", 0, None
        offset = word & 0xFFFF
        return 1, "branch", 0, 4 * (at + 1 + (offset - 0x10000 if offset & 0x8000 else offset))
    if word >> 23 == 0b101111101:  # SOP1
        return 1 + (word & 0xFF == _LITERAL), "scalar", 0, None
    if word >> 28 == 0b1011 and word >> 23 != 0b101111110:  # SOPK; one of them sets a register to a literal
        return 1 + (word >> 23 & 0x1F == 0x13), "scalar", 0, None
    always = word >> 28 != 0b1011 and (word >> 23 & 0x7F) in (0x45, 0x46)  # SOP2 multiply-adds with a literal
    return 1 + (always or _LITERAL in (word & 0xFF, word >> 8 & 0xFF)), "scalar", 0, None
