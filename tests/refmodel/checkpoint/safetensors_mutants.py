"""Mutants of safetensors files and their index, broken in a place that means something."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

from tests.foreign_values import as_json, mutated

Header = dict[str, Any]
DTYPES = (
    "F64", "F32", "F16", "BF16", "I8", "U8", "I32", "U64", "BOOL", "F8_E4M3", "F8_E5M2", "F4", "C64", "f32", "", 7,
)  # fmt: skip
SIZES = (0, 1, -1, 2, 13, 2**31, 2**62, 2**63, 2**64 - 1, 2**64, 10**40, 1.0, "1", None, True)
NAMES = (
    "", "a\nb", "\u2028", "x" * 5_000, "__metadata__", "lm_head.weight", "model.layers.3.mlp.up_proj.weight",
    "mtp.fc.weight", "model.layers.99999999999999999999.eh_proj.weight", "module.model.norm.weight", "norm.weight",
    "\u0661",
)  # fmt: skip
SHARDS = (
    "*", "*.safetensors", "model-?.safetensors", "[a-z]*.safetensors", "../model-0.safetensors", "/etc/passwd",
    "/x.safetensors", "..\\x.safetensors", "C:\\x.safetensors", "C:x.safetensors", "\\x.safetensors",
    "sub/../../x.safetensors", "", ".", "..", "missing.safetensors", "folder.safetensors", "./model-0.safetensors",
    "model-0.safetensors/", "folder/../model-0.safetensors", "x\0.safetensors", "x\n.safetensors", "config.json",
    "x" * 300 + ".safetensors", "a/" * 3_000 + "x.safetensors", "\udc80.safetensors", "\u212b" * 100 + ".safetensors",
)  # fmt: skip


def parts_of(content: bytes) -> tuple[Header, bytes]:
    """The entries of the tensors, and their bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return header, content[8 + length :]


def written(header: Header | str, data: bytes) -> bytes:
    text = (header if isinstance(header, str) else as_json(header)).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data


def mutant(content: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """The bytes of a file that is broken, and whether what was stored for a name is still what its offsets tell."""
    header, data = parts_of(content)
    change = rng.choice(CHANGES)
    changed = change(header, data, rng)
    return changed, change in OF_NAMES


def _length(header: Header, data: bytes, rng: random.Random) -> bytes:
    whole = written(header, data)
    length = len(whole) - len(data) - 8
    near = (length - 1, length + 1, length // 2, len(whole), len(whole) - 8)
    told = rng.choice((*near, 0, 1, 10**8 + 1, 2**63, 2**64 - 1))
    return struct.pack("<Q", told) + whole[8:]


def _torn(header: Header, data: bytes, rng: random.Random) -> bytes:
    whole = bytearray(written(header, data))
    place = rng.randrange(len(whole)) if rng.random() < 0.5 else rng.randrange(len(whole) - len(data))
    kind = rng.randrange(4)
    if kind == 0:
        del whole[place:]
    elif kind == 1:
        whole[place] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del whole[place : place + rng.randrange(1, 9)]
    else:
        whole[place:place] = rng.choice((b"\0", b" ", b"[" * 5_000, b'{"a":' * 5_000, b"9" * 5_000, b"\xff", b'"'))
    return bytes(whole)


def _foreign(header: Header, data: bytes, rng: random.Random) -> bytes:
    return written(mutated(header, rng), data)


def _dtype(header: Header, data: bytes, rng: random.Random) -> bytes:
    header[rng.choice(list(header))]["dtype"] = rng.choice(DTYPES)
    return written(header, data)


def _shape(header: Header, data: bytes, rng: random.Random) -> bytes:
    entry = header[rng.choice(list(header))]
    shape = entry["shape"]
    kind = rng.randrange(5)
    if kind == 0:
        shape[rng.randrange(len(shape))] = rng.choice(SIZES)
    elif kind == 1:
        shape.insert(rng.randrange(len(shape) + 1), rng.choice(SIZES))
    elif kind == 2:
        shape.reverse()
    elif kind == 3:
        entry["shape"] = rng.choice(([], [[]], None, "x", {}, [shape], shape * 99))
    else:
        shape.pop()
    return written(header, data)


def _offsets(header: Header, data: bytes, rng: random.Random) -> bytes:
    """Overlaps, holes, ends beyond the file, negative and huge ones."""
    one, other = (header[name] for name in rng.sample(list(header), 2))
    start, stop = one["data_offsets"]
    one["data_offsets"] = rng.choice((
        other["data_offsets"], [stop, start], [start, stop + 4], [start + 4, stop + 4], [start, start],
        [start - 4, stop], [len(data), len(data) + stop - start], [start, rng.choice(SIZES)],
        [rng.choice(SIZES), stop], [start], [], [start, stop, stop], None, "x", [0, len(data)],
    ))  # fmt: skip
    if rng.random() < 0.3:
        data += bytes(rng.choice((1, 4, 64)))
    return written(header, data)


def _missing(header: Header, data: bytes, rng: random.Random) -> bytes:
    """A name that is gone, its bytes with it or not."""
    name = rng.choice(list(header))
    start, stop = header.pop(name)["data_offsets"]
    if rng.random() < 0.5:
        data = data[:start] + data[stop:]
        for one in header.values():
            one["data_offsets"] = [place - (stop - start) * (place >= stop) for place in one["data_offsets"]]
    return written(header, data)


def _twice(header: Header, data: bytes, rng: random.Random) -> bytes:
    """A name twice in the JSON, the second time as another's."""
    name, other = rng.sample(list(header), 2)
    return written(as_json(header)[:-1] + f", {as_json(name)}: {as_json(header[rng.choice((name, other))])}}}", data)


def _renamed(header: Header, data: bytes, rng: random.Random) -> bytes:
    header[rng.choice(NAMES)] = header.pop(rng.choice(list(header)))
    return written(header, data)


def _added(header: Header, data: bytes, rng: random.Random) -> bytes:
    size = rng.choice((0, 1, 11, 17 * 11))
    shape = rng.choice(([size], [size, 1], [17, 11]) if size == 17 * 11 else ([size], []))
    item = rng.choice((("F32", 4), ("F16", 2), ("I8", 1)))
    count = size if shape else 1
    header[rng.choice(NAMES)] = {
        "dtype": item[0], "shape": shape, "data_offsets": [len(data), len(data) + item[1] * count],
    }  # fmt: skip
    return written(header, data + bytes(item[1] * count))


def _told(header: Header, data: bytes, rng: random.Random) -> bytes:
    metadata = rng.choice(({}, {"format": "pt"}, {"format": 1}, {"a": {"b": 1}}, None, "x", [], {"a\nb": "c\0"}))
    return written({"__metadata__": metadata} | header, data)


def _reordered(header: Header, data: bytes, rng: random.Random) -> bytes:
    names = list(header)
    rng.shuffle(names)
    return written(as_json({name: header[name] for name in names}) + " " * rng.randrange(9), data)


OF_NAMES: tuple[Callable[[Header, bytes, random.Random], bytes], ...] = (_reordered, _told, _added)
"""Those after which a file that is read has the parameters that it had."""
CHANGES = (
    _length, _torn, _torn, _foreign, _foreign, _dtype, _shape, _offsets, _offsets, _missing, _twice, _renamed,
    *OF_NAMES,
)  # fmt: skip


def mutant_index(index: dict[str, Any], rng: random.Random) -> Any:
    """An index one of whose names is another, or any other value is."""
    if rng.random() < 0.4:
        return mutated(index, rng)
    names = index["weight_map"]
    odd = rng.choice(SHARDS)
    chosen = list(names) if rng.random() < 0.3 else [rng.choice(list(names))]
    return index | {"weight_map": names | dict.fromkeys(chosen, odd)}
