"""tokenizer.model: sentencepiece's file, a protocol buffer of which a few fields matter.

    message 1 (repeated): a piece      1 text, 2 score (float), 3 kind (default: normal)
    message 2: how it was trained      3 the algorithm: 1 unigram (default), 2 byte pairs
    message 3: how text is normalised  2 characters, 3 a space in front, 4 single spaces (both by default)

The fields are those of sentencepiece's sentencepiece_model.proto.
"""

from __future__ import annotations

import itertools
import operator
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from attention.regular_file import regular_file
from refmodel.tokenizer.pieces import Kind, Pieces
from refmodel.words import reason

_VARINT, _EIGHT, _MESSAGE, _FOUR = 0, 1, 2, 5
_BYTE_PAIRS: Final = 2
_MOST_BITS: Final = 70  # ten bytes of seven
_MOST_BYTES: Final = 2**23  # the largest of models that are known take half of it
_MOST_FIELDS: Final = 2**20


def read_pieces(path: Path) -> Pieces:
    """The vocabulary of a file.  Raises `ValueError` for one that is no model of byte pairs."""
    regular_file(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is longer than {_MOST_BYTES:,} bytes")
        found = list(itertools.islice(_fields(path.read_bytes()), _MOST_FIELDS + 1))
        if len(found) > _MOST_FIELDS:
            raise ValueError(f"it has more than {_MOST_FIELDS:,} pieces")
        pieces = [dict(_fields(value)) for number, value in found if number == 1]
        trained, normalised = (_merged(value for number, value in found if number == which) for which in (2, 3))
        texts = [piece[1].decode() for piece in pieces]
        scores = [struct.unpack("<f", piece.get(2, b"\0\0\0\0"))[0] for piece in pieces]
        kinds = [operator.index(piece.get(3, Kind.NORMAL)) for piece in pieces]
        charsmap = memoryview(normalised.get(2, b"")).tobytes()
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        said = f"{type(error).__name__}: {reason(error)}"
        raise ValueError(f"{path}: not a readable file of sentencepiece ({said})") from error
    if not pieces:
        raise ValueError(f"{path}: not a readable file of sentencepiece (it holds no pieces)")
    if trained.get(3, 1) != _BYTE_PAIRS:
        raise ValueError(f"{path}: a sentencepiece model of another algorithm than byte pairs; give a tokenizer.json")
    return Pieces(
        texts, scores, kinds, prefix="each" if normalised.get(3, 1) else "none",
        single_spaces=bool(normalised.get(4, 1)), charsmap=charsmap,
    )  # fmt: skip


def _merged(messages: Iterable[bytes]) -> dict[int, Any]:
    """The fields of a message that may be in pieces."""
    return {number: value for message in messages for number, value in _fields(message)}


def _fields(buffer: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a message: an int, or bytes."""
    place = 0
    while place < len(buffer):
        key, place = _varint(buffer, place)
        kind, number = key & 7, key >> 3
        if kind == _VARINT:
            value, place = _varint(buffer, place)
            yield number, value
            continue
        if kind == _MESSAGE:
            size, place = _varint(buffer, place)
        elif kind in (_FOUR, _EIGHT):
            size = 4 if kind == _FOUR else 8
        else:
            raise ValueError(f"field {number} is of unknown kind {kind}")
        if place + size > len(buffer):
            raise ValueError("it ends within a field")
        yield number, buffer[place : place + size]
        place += size


def _varint(buffer: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = buffer[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
        if shift >= _MOST_BITS:
            raise ValueError("a number of more than 64 bits")
