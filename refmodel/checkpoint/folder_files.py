"""Which files of a Hugging Face folder hold its weights, chosen as transformers chooses, and none outside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

from attention.regular_file import regular_file
from refmodel.checkpoint.mapped import mapped
from refmodel.checkpoint.placement import Shape
from refmodel.checkpoint.recognise import SAVE_AS_SAFETENSORS, refuse_pointer
from refmodel.json_object import read_json
from refmodel.paths import is_there
from refmodel.words import quoted, reason, shown

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_COMPARED_ROWS: Final = 256
_MOST_HEADER_BYTES: Final = 2**23  # of seventy thousand tensors, where a shard has some hundreds
_ANY_HEADER_BYTES: Final = 2**18
_HEADER_TIMES: Final = 32
"""What a header becomes takes at most so many times its size: half of that of the file is twice the file."""
_MOST_BYTES: Final = 255  # that systems take as the name of a file
_DTYPES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16, "F8_E4M3": jnp.float8_e4m3fn,
        "F8_E5M2": jnp.float8_e5m2, "F8_E8M0": jnp.float8_e8m0fnu, "U8": np.uint8, "I32": np.int32,
    }
)  # fmt: skip


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in an open file, nothing of it read; `place` is where its bytes begin and end in the file `path`."""

    file: Any
    name: str
    path: Path
    place: tuple[int, int]

    @property
    def dtype(self) -> str:
        return self.file.get_slice(self.name).get_dtype()

    @property
    def shape(self) -> Shape:
        return tuple(self.file.get_slice(self.name).get_shape())

    def array(self) -> np.ndarray:
        """The numbers, mapped into memory and not copied where they are floats of whole bytes.

        Raises `ValueError` for a type that numpy does not have.
        """
        if (dtype := _DTYPES.get(self.dtype)) is None:
            try:
                return self.file.get_tensor(self.name)
            except Exception as error:  # its own type, and what numpy raises
                raise ValueError(f"{shown(self.name)} is stored as {self.dtype}, which numpy does not have") from error
        return mapped(self.path, self.place).view(dtype).reshape(self.shape)


def same_numbers(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether both hold the same numbers, of whatever types; some rows are read at a time."""
    if ours.shape != theirs.shape:
        return False
    ours, theirs = np.atleast_1d(ours), np.atleast_1d(theirs)
    cuts = [slice(start, start + _COMPARED_ROWS) for start in range(0, len(ours), _COMPARED_ROWS)]
    return all(_equal(ours[cut], theirs[cut]) for cut in cuts)


def _equal(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes():  # mostly so, and faster
        return True
    return np.array_equal(ours.astype(np.float64), theirs.astype(np.float64), equal_nan=True)


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a folder by its stored name.

    Raises `ValueError` for files that are missing, broken or no weights, and for a tensor that is stored twice.
    """
    found: dict[str, StoredTensor] = {}
    for path in weight_files(folder):
        refuse_pointer(path)
        _refuse_long_header(path)
        try:
            shard = safe_open(path, framework="numpy")
        except Exception as error:  # safetensors raises its own type, and OSError
            raise ValueError(f"{path}: not a readable safetensors file ({reason(error)})") from error
        places = _places(path)
        for name in shard.keys():  # noqa: SIM118 - a file is no mapping
            if name in found:
                raise ValueError(f"{path}: {shown(name)} is stored in an earlier shard too")
            found[name] = StoredTensor(shard, name, path, places[name])
    return found


def _refuse_long_header(path: Path) -> None:
    """Before it is read: what it becomes may take no more than twice the file, or than a small header's would."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        most = min(max(_ANY_HEADER_BYTES, 2 * path.stat().st_size // _HEADER_TIMES), _MOST_HEADER_BYTES)
    except OSError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({reason(error)})") from error
    if length > most:
        limit = f"of at most {most:,} bytes in a file of this size"
        raise ValueError(f"{path}: not a readable safetensors file (a header {limit}, got {length:,})")


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor lies in a file that `safe_open` has checked.

    The header is JSON, its length in 8 bytes before it, and offsets count from behind it.
    """
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_bytes))
    offsets = {name: one["data_offsets"] for name, one in header.items() if name != "__metadata__"}
    return {name: (8 + header_bytes + start, 8 + header_bytes + stop) for name, (start, stop) in offsets.items()}


def weight_files(folder: Path) -> list[Path]:
    """`model.safetensors`, or the shards of `model.safetensors.index.json` where there is no such file.

    An index beside a single file is left over from older shards: the single file counts.
    """
    if regular_file(folder / SINGLE).exists():
        return [folder / SINGLE]
    if not regular_file(folder / INDEX).exists():
        raise ValueError(f"{folder}: {_instead(folder)}")
    shards = shard_names(folder / INDEX)
    if missing := [name for name in shards if not is_there(folder / name)]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        lacks = f"{folder} lacks {shown(missing[0])}{more}"
        raise ValueError(f"{lacks}, of the {len(shards)} shards that {INDEX} names: fetch it")
    return [regular_file(folder / name) for name in shards]


def shard_names(index: Path) -> list[str]:
    """The files that an index names.

    Raises `ValueError` for what is no index, and for a name that leads out of its folder, is of no safetensors file, or
    is a pattern, which the Hub's package would take for many files.
    """
    refuse_pointer(index)
    named = read_json(index).get("weight_map")
    if not isinstance(named, Mapping) or not named or not all(isinstance(name, str) for name in named.values()):
        raise ValueError(f"{index}: not a readable index of shards (weight_map is no mapping from tensors to files)")
    names = sorted(set(named.values()))
    if odd := [name for name in names if _is_no_shard(name) or _leaves(name)]:
        accepted = "accepted: names of .safetensors files in its own folder, without * ? ["
        raise ValueError(f"{index} names {quoted(odd[0])}; {accepted}")
    return names


def _is_no_shard(name: str) -> bool:
    """Whether a name cannot be that of one shard."""
    if not name.isprintable() or not name.endswith(".safetensors") or len(name.encode()) > _MOST_BYTES:
        return True
    return any(sign in name for sign in "*?[")


def _leaves(name: str) -> bool:
    """Whether a name, as any system would read it, leads out of the folder."""
    return any(kind(name).is_absolute() or kind(name).drive or ".." in kind(name).parts
               for kind in (PurePosixPath, PureWindowsPath)) or name.startswith("\\")  # fmt: skip


def _instead(folder: Path) -> str:
    """What a folder without weights in safetensors holds, and what to do."""
    names = sorted(path.name for path in folder.iterdir())
    found = f"no {SINGLE} and no {INDEX} here"
    if shards := [name for name in names if name.endswith(".safetensors")]:
        first = shown(shards[0])
        return f"{found}, though {len(shards)} other safetensors files, the first of them {first}: fetch {INDEX}"
    if pickled := [name for name in names if name.endswith((".bin", ".pt", ".pth"))]:
        only = f"{found}, only {shown(pickled[0])}, which is pickled"
        return f"{only}, and nothing is unpickled here: {SAVE_AS_SAFETENSORS}"
    return f"{found}; costs need no weights"
