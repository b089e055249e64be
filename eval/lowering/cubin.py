"""What NVIDIA's assembler wrote into a cubin: registers, stack, shared memory, arguments.

A cubin is an ELF file.  `.nv.info` and `.nv.info.<kernel>` hold records (format byte, attribute byte, 16 bits that are
a value or the length of what follows), whose names NVIDIA's tools print and whose layout is not documented; the ones
read here are held to what `ptxas -v` says in a test.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from eval.lowering.code_object import Argument, KernelObject

_MAGIC: Final = b"\x7fELF\x02\x01\x01"
_CUDA: Final = "EM_CUDA"
_SIZED: Final = 4  # format of a record whose 16 bits are a length
_REGISTERS, _STACK = 0x2F, 0x11  # of .nv.info: (symbol, value)
_ARGUMENT, _ARGUMENT_BYTES, _MAX_THREADS, _EXACT_THREADS = 0x17, 0x19, 0x05, 0x10
RESERVED_BYTES: Final = 1024
"""Of shared memory, which the system keeps for itself in every block from sm_90 on; the section counts it."""


def split_cubins(data: bytes) -> Iterator[bytes]:
    """The cubins in a file that holds several, whatever is between them."""
    from elftools.elf.elffile import ELFFile

    at = data.find(_MAGIC)
    while at >= 0:
        header = ELFFile(io.BytesIO(data[at:])).header
        tables = ((header["e_shoff"], header["e_shnum"] * header["e_shentsize"]),
                  (header["e_phoff"], header["e_phnum"] * header["e_phentsize"]))  # fmt: skip
        length = max(start + size for start, size in tables)
        if header["e_machine"] == _CUDA:
            yield data[at : at + length]
        at = data.find(_MAGIC, at + len(_MAGIC))


def read_cubin(path: Path) -> list[KernelObject]:
    """The kernels of a cubin.  Raises `ValueError` for a file that is none."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        try:
            elf = ELFFile(file)
        except ELFError as error:
            raise ValueError(f"{path}: not an ELF file ({error})") from error
        if elf.header["e_machine"] != _CUDA:
            raise ValueError(f"{path}: made for {elf.header['e_machine']}, so no cubin")
        sections: dict[str, Any] = {section.name: section for section in elf.iter_sections()}
        symbols = [symbol.name for symbol in sections[".symtab"].iter_symbols()]
        of_symbol = _by_symbol(sections[".nv.info"].data(), symbols)
        names = [name.removeprefix(".text.") for name in sections if name.startswith(".text.")]
        return [_kernel(name, sections, of_symbol) for name in names]


def _by_symbol(data: bytes, symbols: list[str]) -> dict[tuple[int, str], int]:
    """The values of `.nv.info` by attribute and symbol."""
    pairs = ((attribute, struct.unpack_from("<II", value)) for attribute, value in _records(data) if len(value) == 8)
    return {(attribute, symbols[symbol]): value for attribute, (symbol, value) in pairs if symbol < len(symbols)}


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        form, attribute, value = struct.unpack_from("<BBH", data, at)
        length = value if form == _SIZED else 0
        yield attribute, data[at + 4 : at + 4 + length] if form == _SIZED else data[at + 2 : at + 4]
        at += 4 + length


def _kernel(name: str, sections: dict[str, Any], of_symbol: dict[tuple[int, str], int]) -> KernelObject:
    own = list(_records(sections[f".nv.info.{name}"].data()))
    last = dict(own)
    threads = last.get(_EXACT_THREADS) or last.get(_MAX_THREADS)
    shared = sections.get(f".nv.shared.{name}")
    arguments = [struct.unpack("<IHHI", value) for attribute, value in own if attribute == _ARGUMENT]
    return KernelObject(
        name, "cuda", of_symbol[_REGISTERS, name], None, None, None, of_symbol[_STACK, name],
        max(0, shared["sh_size"] - RESERVED_BYTES) if shared else 0, 32,
        math.prod(struct.unpack("<3I", threads)) if threads else 1024,
        int.from_bytes(last.get(_ARGUMENT_BYTES, b""), "little"), False,
        tuple(Argument(offset, packed >> 18, "", "") for _, _, offset, packed in sorted(arguments, key=lambda a: a[1])),
        sections[f".text.{name}"].data(),
    )  # fmt: skip
