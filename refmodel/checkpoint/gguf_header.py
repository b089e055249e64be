"""The header of a GGUF file: its settings, and where its tensors lie.

Little-endian: magic, version, number of tensors and of settings; then the settings (name, type, value), then of each
tensor name, axes (the fastest first), type and offset; the data begin at the next multiple of the alignment, and each
tensor at the next one behind the tensor before it (llama.cpp, ggml/src/gguf.cpp, refuses another file too).  The format
is documented at ggml-org/ggml, docs/gguf.md.  The package `gguf` reads it too, but takes a vocabulary apart into a
million arrays, which takes seconds; what its types mean is taken from there.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from refmodel.checkpoint.mapped import mapped
from refmodel.checkpoint.placement import Shape
from refmodel.fields import MOST_WHOLE, Fields
from refmodel.words import shown

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_ALIGNMENT_BYTES: Final = 32
_MOST_AXES: Final = 4
_MOST_TEXT_BYTES: Final = 2**24
_MOST_ITEMS: Final = 2**22
"""Of all settings together: entries, items of arrays; a vocabulary of 262,144 tokens takes a fifth of it.  What becomes
of an item takes up to a hundred bytes."""
_MOST_TENSORS: Final = 2**17
_NUMBERS: Final = MappingProxyType({
    GGUFValueType.UINT8: "<u1", GGUFValueType.INT8: "<i1", GGUFValueType.UINT16: "<u2", GGUFValueType.INT16: "<i2",
    GGUFValueType.UINT32: "<u4", GGUFValueType.INT32: "<i4", GGUFValueType.FLOAT32: "<f4", GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "<u8", GGUFValueType.INT64: "<i8", GGUFValueType.FLOAT64: "<f8",
})  # fmt: skip


@dataclass(frozen=True)
class GgufTensor:
    """One tensor, nothing of it read: its shape, the slowest axis first, and where its bytes lie in the file `path`.

    Attributes:
        kind: how its numbers are stored; the bare number of a type that the package `gguf` does not know.
        place: where they begin and end; None where the type is not known, or the file ends before the tensor does.
    """

    name: str
    shape: Shape
    kind: GGMLQuantizationType | int
    path: Path
    place: tuple[int, int] | None

    def rows(self) -> np.ndarray:
        """Its bytes [rows, bytes of a row], mapped into memory and not copied."""
        assert self.place is not None
        return mapped(self.path, self.place).reshape(math.prod(self.shape[:-1]), -1)

    @property
    def kind_name(self) -> str:
        return self.kind.name if isinstance(self.kind, GGMLQuantizationType) else f"type {self.kind}"


class _Listed(NamedTuple):
    """A tensor as the header lists it: `kind` is a number, `offset` in bytes from where the data begin."""

    name: str
    shape: Shape
    kind: int
    offset: int


@dataclass(frozen=True)
class GgufPart:
    """The settings and the tensors of one file, which may be a part of several."""

    path: Path
    settings: dict[str, Any]
    tensors: dict[str, GgufTensor]


def read_header(path: Path) -> GgufPart:
    """The header of the file, whose data stay on disk.

    Raises `ValueError` for what is no GGUF file that can be read here.
    """
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _parsed(path, content)
    # What lies behind a broken length is anything: a number too large, a text that is none, a type that there is not.
    except (OSError, ValueError, OverflowError, MemoryError, RecursionError, struct.error) as error:
        raise ValueError(f"{path}: not a readable GGUF file ({type(error).__name__}: {error})") from error


def _parsed(path: Path, content: mmap.mmap) -> GgufPart:
    if content[:4] != MAGIC:
        raise ValueError(f"it begins with {content[:4]!r}, not with {MAGIC!r}")
    cursor = _Cursor(content, 4)
    version = cursor.number("<u4")
    if version & 0xFFFF == 0:
        raise ValueError("its byte order is not this machine's")
    if version not in _VERSIONS:
        raise ValueError(f"version {version}; accepted: {', '.join(map(str, _VERSIONS))}")
    n_tensors, n_settings = cursor.number("<u8"), cursor.number("<u8")
    cursor.count(n_settings)
    settings: dict[str, Any] = {}
    for _ in range(n_settings):
        key = cursor.text()
        if key in settings:
            raise ValueError(f"{shown(key)} is there twice")
        settings[key] = cursor.value(GGUFValueType(cursor.number("<u4")))
    if n_tensors > _MOST_TENSORS:
        raise ValueError(f"{n_tensors:,} tensors; accepted: at most {_MOST_TENSORS:,}")
    listed = [_listed(cursor) for _ in range(n_tensors)]
    return GgufPart(path, settings, _placed(path, len(content), cursor.place, _alignment(settings), listed))


def _alignment(settings: dict[str, Any]) -> int:
    found = Fields(settings, "its settings").get("general.alignment", int, _ALIGNMENT_BYTES)
    if found < 1 or found & (found - 1):
        raise ValueError(f"general.alignment is {found}, no power of 2")
    return found


def _listed(cursor: _Cursor) -> _Listed:
    name, n_axes = cursor.text(), cursor.number("<u4")
    if not 1 <= n_axes <= _MOST_AXES:
        raise ValueError(f"{shown(name)} has {n_axes} axes; accepted: 1 to {_MOST_AXES}")
    shape = tuple(reversed([cursor.number("<u8") for _ in range(n_axes)]))
    if not all(1 <= size <= MOST_WHOLE for size in shape):
        raise ValueError(f"{shown(name)} has shape {shape}; accepted: sizes from 1 to {MOST_WHOLE:,}")
    return _Listed(name, shape, cursor.number("<u4"), cursor.number("<u8"))


def _placed(
    path: Path, file_bytes: int, header_bytes: int, alignment: int, listed: list[_Listed]
) -> dict[str, GgufTensor]:
    """The tensors, each in its place behind the others."""
    start = -(-header_bytes // alignment) * alignment
    after: int | None = 0
    tensors: dict[str, GgufTensor] = {}
    for one in listed:
        if one.name in tensors:
            raise ValueError(f"tensor {shown(one.name)} is there twice")
        if one.offset % alignment or (after is not None and one.offset != after):
            wanted = f"a multiple of {alignment}" if after is None else f"{after:,}, behind the tensor before it"
            raise ValueError(f"{shown(one.name)} begins at {one.offset:,} of the data; accepted: {wanted}")
        tensors[one.name], size_bytes = _tensor(path, file_bytes, start + one.offset, one)
        after = None if size_bytes is None else one.offset + -(-size_bytes // alignment) * alignment
    if after is not None and file_bytes > start + after:
        raise ValueError(f"{file_bytes - start - after:,} bytes lie behind the last of its {len(listed)} tensors")
    return tensors


def _tensor(path: Path, file_bytes: int, start: int, one: _Listed) -> tuple[GgufTensor, int | None]:
    """The tensor and its size in bytes, where that is known."""
    try:
        kind = GGMLQuantizationType(one.kind)
    except ValueError:
        return GgufTensor(one.name, one.shape, one.kind, path, None), None
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if one.shape[-1] % block:
        raise ValueError(f"{shown(one.name)} has rows of {one.shape[-1]}; {kind.name} stores {block} at a time")
    stop = start + math.prod(one.shape[:-1]) * (one.shape[-1] // block * block_bytes)
    place = (start, stop) if stop <= file_bytes else None
    return GgufTensor(one.name, one.shape, kind, path, place), stop - start


class _Cursor:
    """A place in the file that moves on with what is read."""

    def __init__(self, content: mmap.mmap, place: int) -> None:
        self.content, self.place, self.items = content, place, 0

    def count(self, items: int) -> None:
        """Before so many are read.  Raises `ValueError` for more than any model has."""
        self.items += items
        if self.items > _MOST_ITEMS:
            raise ValueError(f"its settings hold {self.items:,} items; accepted: at most {_MOST_ITEMS:,}")

    def number(self, dtype: str) -> Any:
        return self.numbers(dtype, 1)[0]

    def numbers(self, dtype: str, count: int) -> list[Any]:
        if self.place + count * np.dtype(dtype).itemsize > len(self.content):
            raise ValueError("it ends within its header")  # numpy's own check wraps around for large counts
        found = np.frombuffer(self.content, dtype, count, self.place)
        self.place += found.nbytes
        return found.tolist()

    def text(self) -> str:
        return self.texts(1)[0]

    def texts(self, count: int) -> list[str]:
        """Each is its length in bytes and UTF-8."""
        content, place, length_of = self.content, self.place, struct.Struct("<Q").unpack_from
        found = []
        for _ in range(count):
            length = length_of(content, place)[0]
            end = place + 8 + length
            if end > len(content):
                raise ValueError("it ends within a text")
            if length > _MOST_TEXT_BYTES:
                raise ValueError(f"a text of {length:,} bytes; accepted: at most {_MOST_TEXT_BYTES:,}")
            found.append(content[place + 8 : end].decode())
            place = end
        self.place = place
        return found

    def value(self, kind: GGUFValueType) -> Any:
        if kind is GGUFValueType.STRING:
            return self.text()
        if kind is not GGUFValueType.ARRAY:
            return self.number(_NUMBERS[kind])
        of, count = GGUFValueType(self.number("<u4")), self.number("<u8")
        self.count(count)
        if of is GGUFValueType.STRING:
            return self.texts(count)
        if of is GGUFValueType.ARRAY:
            return [self.value(of) for _ in range(count)]
        return self.numbers(_NUMBERS[of], count)
