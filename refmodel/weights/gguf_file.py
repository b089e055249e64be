"""The parameter tree from a GGUF file, dequantised."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from gguf import GGUFReader, ReaderTensor

from refmodel.open_gguf import open_gguf, path_of
from refmodel.read_gguf_config import family_of, from_gguf
from refmodel.specification import ModelConfig
from refmodel.weights.fill import Placement, Shape, fill, placements

_ROPE_FACTORS: Final = "rope_freqs.weight"
_ROWS: Final = 1024  # dequantised at a time


def load(source: str | Path | GGUFReader, dtype: Any) -> tuple[ModelConfig, Any]:
    """The config and the parameters, in `dtype`, of the model in a GGUF file or an open reader of one.

    Every tensor type that the gguf package dequantises is accepted.  Raises `ValueError` naming the file or the
    tensor at fault.
    """
    reader = open_gguf(source)
    where = str(path_of(reader))
    config = from_gguf(reader)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    _refuse_rope_factors(tensors.pop(_ROPE_FACTORS, None), where)
    shapes = {name: _shape(tensor) for name, tensor in tensors.items()}
    interleaved = family_of(reader).interleaves_heads
    interleaved = family_of(reader).interleaves_heads
    placed = [_unpacked(one, interleaved) for one in placements(config, lambda row: row.gguf)]
    return config, fill(config, dtype, placed, shapes, lambda name: _dequantised(tensors[name], where), where)


def _unpacked(one: Placement, interleaved: bool) -> Placement:
    """With what llama.cpp's converter did to a tensor undone."""
    row = one.row
    if row.gguf_adds:
        return dataclasses.replace(one, pick=lambda stored: stored - row.gguf_adds)
    if interleaved and row.path in ("attn.q", "attn.k"):
        return dataclasses.replace(one, pick=lambda stored: _split_halves(stored, row.shape[-1]))
    return one


def _split_halves(stored: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of q or k [N*H, D] from the order for interleaved RoPE back to the order for half-split RoPE.

    The llama architecture stores a head's rows as 0, H/2, 1, H/2 + 1, ...; other architectures do not.
    """
    pairs = stored.reshape(-1, head_dim // 2, 2, stored.shape[-1])
    return pairs.swapaxes(1, 2).reshape(stored.shape)


def _dequantised(tensor: ReaderTensor, where: str) -> np.ndarray:
    """The tensor in float32, row group by row group: `gguf.dequantize` alone holds its result twice."""
    stored = tensor.data.reshape(-1, tensor.data.shape[-1])
    values = np.empty((len(stored), int(tensor.shape[0])), np.float32)
    try:
        for start in range(0, len(stored), _ROWS):
            values[start : start + _ROWS] = gguf.dequantize(stored[start : start + _ROWS], tensor.tensor_type)
    except NotImplementedError as error:
        raise ValueError(f"{where}: {tensor.name} is stored as {tensor.tensor_type.name}: {error}") from error
    return values.reshape(_shape(tensor))


def _shape(tensor: ReaderTensor) -> Shape:
    """A GGUF file lists a tensor's fastest axis first."""
    return tuple(int(size) for size in reversed(tensor.shape))


def _refuse_rope_factors(factors: ReaderTensor | None, where: str) -> None:
    """Some files carry a factor for each rotary frequency; only factors that change nothing are accepted."""
    if factors is not None and not np.all(_dequantised(factors, where) == 1):
        raise ValueError(f"{where}: {_ROPE_FACTORS} scales the rotary frequencies; accepted: all ones, or absent")
