"""Mutants of GGUF files: a number of the header, a setting or a tensor that is foreign, missing or twice, torn bytes.

The package `gguf` says where the parts of a header lie, so that a mutant is changed in a place that means something.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from pathlib import Path

import gguf
from gguf import GGUFValueType as Type

_ALIGNMENT_BYTES = 32
_HEAD = struct.Struct("<4sIQQ")  # magic, version, tensors, settings

HOSTILE_NUMBERS = (
    0, 1, 2, 3, 7, 31, 32, 33, 48, 255, 999, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**61, 2**62, 2**63 - 1,
    2**63, 2**64 - 32, 2**64 - 1,
)  # fmt: skip


def _text(word: bytes) -> bytes:
    return struct.pack("<Q", len(word)) + word


def _array(kind: Type, count: int, items: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + items


FOREIGN_VALUES = (
    *((Type.FLOAT32, struct.pack("<f", one)) for one in (0, -1, 0.5, 1e-38, 1e38, float("nan"), float("inf"))),
    *((Type.FLOAT64, struct.pack("<d", one)) for one in (-4.0, 1e300, float("-inf"))),
    *((Type.INT32, struct.pack("<i", one)) for one in (-(2**31), -1, 0, 1, 2, 3, 2**31 - 1)),
    *((Type.UINT64, struct.pack("<Q", one)) for one in (2**31, 2**63, 2**64 - 1)),
    *((Type.BOOL, bytes([one])) for one in (0, 1, 7)),
    *((Type.STRING, _text(one)) for one in (b"", b"3", b"yarn", b"a\nb", b"\xff\xfe", "\u2028".encode(), b"x" * 3_000)),
    (Type.ARRAY, _array(Type.UINT8, 0, b"")), (Type.ARRAY, _array(Type.UINT32, 3, struct.pack("<III", 1, 2, 3))),
    (Type.ARRAY, _array(Type.BOOL, 3, b"\1\0\1")), (Type.ARRAY, _array(Type.STRING, 2, _text(b"a") + _text(b"b c"))),
    (Type.ARRAY, _array(Type.ARRAY, 1, _array(Type.UINT8, 1, b"\0"))), (Type.ARRAY, _array(Type.FLOAT32, 2**61, b"")),
)  # fmt: skip

ADDED_KEYS = (
    "general.alignment", "general.name", "split.count", "split.no", "split.tensors.count", "{}.attention.causal",
    "{}.nextn_predict_layers", "{}.rope.scaling.type", "{}.rope.scaling.factor", "{}.rope.freq_base",
    "{}.rope.scaling.original_context_length", "{}.rope.scaling.attn_factor", "{}.rope.scaling.yarn_beta_fast",
    "{}.attention.sliding_window", "{}.attention.sliding_window_pattern", "{}.attention.value_length",
    "{}.rope.dimension_count", "{}.expert_shared_count", "{}.final_logit_softcapping", "{}.rope.freq_base_swa",
    "tokenizer.ggml.add_bos_token", "tokenizer.ggml.eos_token_id",
)  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """A GGUF file in its parts: each entry of the header as its bytes, with where in them numbers lie (place, size)."""

    architecture: str
    settings: tuple[tuple[bytes, tuple[tuple[int, int], ...]], ...]
    tensors: tuple[tuple[bytes, tuple[tuple[int, int], ...]], ...]
    data: bytes


def parts_of(path: Path) -> Parts:
    """The parts of a file that the package `gguf` wrote."""
    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    settings = [_entry(field) for name, field in reader.fields.items() if not name.startswith("GGUF.")]
    tensors = [_entry(tensor.field) for tensor in reader.tensors]
    return Parts(architecture, tuple(settings), tuple(tensors), path.read_bytes()[reader.data_offset :])


def _entry(field: gguf.ReaderField) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    pieces, numbers, place = [], [], 0
    for part in field.parts:
        content = part.tobytes()
        if part.dtype.kind in "iuf" and part.dtype.itemsize > 1:
            numbers += [(place + at, part.dtype.itemsize) for at in range(0, len(content), part.dtype.itemsize)]
        pieces.append(content)
        place += len(content)
    return b"".join(pieces), tuple(numbers)


def written(parts: Parts, version: int = 3, more: tuple[int, int] = (0, 0)) -> bytes:
    """The file of its parts; `more` is added to the counts of tensors and of settings."""
    n_tensors, n_settings = len(parts.tensors) + more[0], len(parts.settings) + more[1]
    header = _HEAD.pack(b"GGUF", version, n_tensors, n_settings) + b"".join(
        one for one, _ in (*parts.settings, *parts.tensors)
    )
    return header + bytes(-len(header) % _ALIGNMENT_BYTES) + parts.data


def mutant(parts: Parts, rng: random.Random) -> tuple[bytes, bool]:
    """A file that differs in one place or two from that of `parts`, and whether its data are as they were.

    An alignment that it did not have before says that they begin elsewhere: they are other numbers then.
    """
    for _ in range(rng.choice((0, 0, 0, 1))):
        parts = rng.choice(_CHANGES)(parts, rng)
    if rng.random() < 0.75:
        return written(rng.choice(_CHANGES)(parts, rng)), True
    if rng.random() < 0.3:
        version, by = rng.choice((0, 1, 2, 4, 3 << 24)), rng.choice((-1, 1, 7, 2**20, 2**40, 2**63))
        return written(parts, *rng.choice(((version, (0, 0)), (3, (by, 0)), (3, (0, by))))), True
    content = bytearray(written(parts))
    header_bytes = len(content) - len(parts.data)
    if rng.random() < 0.4:
        return bytes(content[: rng.choice((rng.randrange(header_bytes), rng.randrange(len(content))))]), True
    within = header_bytes if rng.random() < 0.8 else len(content)
    places = [rng.randrange(within) for _ in range(rng.choice((1, 1, 3)))]
    for place in places:
        content[place] ^= 1 << rng.randrange(8)
    return bytes(content), max(places) < header_bytes


def _number(parts: Parts, rng: random.Random) -> Parts:
    """A length, a type, an axis, an offset or a value, overwritten."""
    which = rng.choice(("settings", "tensors"))
    entries = list(getattr(parts, which))
    place = rng.randrange(len(entries))
    content, numbers = entries[place]
    at, size = rng.choice(numbers[:6] if rng.random() < 0.7 else numbers)
    old = int.from_bytes(content[at : at + size], "little")
    new = rng.choice((*HOSTILE_NUMBERS, old + 1, old - 1, old * 2, old // 2, -old)) % 256**size
    entries[place] = (content[:at] + new.to_bytes(size, "little") + content[at + size :], numbers)
    return _with(parts, which, entries)


def _foreign(parts: Parts, rng: random.Random) -> Parts:
    """A setting's value, replaced by one of another kind."""
    entries = list(parts.settings)
    place = rng.randrange(len(entries))
    entries[place] = _setting(_key(entries[place][0]), rng)
    return _with(parts, "settings", entries)


def _added(parts: Parts, rng: random.Random) -> Parts:
    key = rng.choice(ADDED_KEYS).format(parts.architecture).encode()
    kept = [one for one in parts.settings if _key(one[0]) != key]
    return _with(parts, "settings", [*kept, _setting(key, rng)])


def _missing(parts: Parts, rng: random.Random) -> Parts:
    which = rng.choice(("settings", "tensors"))
    entries = list(getattr(parts, which))
    del entries[rng.randrange(len(entries))]
    return _with(parts, which, entries)


def _twice(parts: Parts, rng: random.Random) -> Parts:
    which = rng.choice(("settings", "tensors"))
    entries = list(getattr(parts, which))
    return _with(parts, which, [*entries, rng.choice(entries)])


def _swapped(parts: Parts, rng: random.Random) -> Parts:
    """Two tensors under each other's name, shape, type and offset, or in each other's place of the list."""
    entries = list(parts.tensors)
    one, other = (rng.randrange(len(entries)) for _ in range(2))
    if rng.random() < 0.5:
        entries[one], entries[other] = entries[other], entries[one]
    else:
        (first, numbers), (second, _) = entries[one], entries[other]
        key = _key(first)
        entries[one] = (_text(key) + second[8 + len(_key(second)) :], numbers[:1])
    return _with(parts, "tensors", entries)


_CHANGES = (*(_number,) * 4, *(_foreign,) * 3, _added, _added, _missing, _twice, _swapped)


def _key(entry: bytes) -> bytes:
    return entry[8 : 8 + int.from_bytes(entry[:8], "little")]


def _setting(key: bytes, rng: random.Random) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    kind, value = rng.choice(FOREIGN_VALUES)
    return _text(key) + struct.pack("<I", kind) + value, ((0, 8), (8 + len(key), 4))


def _with(parts: Parts, which: str, entries: list[tuple[bytes, tuple[tuple[int, int], ...]]]) -> Parts:
    changed = {"settings": parts.settings, "tensors": parts.tensors} | {which: tuple(entries)}
    return Parts(parts.architecture, changed["settings"], changed["tensors"], parts.data)
