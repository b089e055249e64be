"""The parameter tree from a GGUF file, dequantised."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from gguf import GGUFReader, ReaderTensor

from refmodel.config import ModelConfig
from refmodel.model import abstract_params
from refmodel.open_gguf import metadata, open_gguf, path_of
from refmodel.read_gguf_config import from_gguf
from refmodel.weights.fill import Leaves, Row, Shape, fill, leaves_by_path, table

_OUTSIDE: Final = {
    "embed.embedding": "token_embd.weight",
    "final_norm.scale": "output_norm.weight",
    "head.kernel": "output.weight",
}
_BLOCK: Final = {
    "attn_norm.scale": "attn_norm",
    "attn.q": "attn_q",
    "attn.k": "attn_k",
    "attn.v": "attn_v",
    "attn.o": "attn_output",
    "attn.q_norm.scale": "attn_q_norm",
    "attn.k_norm.scale": "attn_k_norm",
    "ffn_norm.scale": "ffn_norm",
}
_DENSE: Final = {f"ffn.{leaf}": f"ffn_{leaf}" for leaf in ("gate", "up", "down")}
_MOE: Final = {"ffn.router": "ffn_gate_inp", **{f"ffn.{leaf}": f"ffn_{leaf}_exps" for leaf in ("gate", "up", "down")}}
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
    tree = abstract_params(config, dtype)
    interleaved = metadata(reader).get("general.architecture", str) == "llama"
    rows = _rows(leaves_by_path(tree), config, interleaved)
    return config, fill(tree, rows, shapes, lambda name: _dequantised(tensors[name], where), where)


def _rows(leaves: Leaves, config: ModelConfig, interleaved: bool) -> list[Row]:
    names = dict(_OUTSIDE)
    for kind, ffn in (("dense", _DENSE), ("moe", _MOE)):
        names |= {f"blocks.{kind}.{leaf}": f"blk.{{layer}}.{name}.weight" for leaf, name in (_BLOCK | ffn).items()}
    rows = table(leaves, names, config.block_kinds)
    if not interleaved:
        return rows

    def split_halves(stored: np.ndarray) -> np.ndarray:
        return _split_halves(stored, config.head_dim)

    return [
        dataclasses.replace(row, pick=split_halves) if row.leaf.endswith(("attn.q", "attn.k")) else row for row in rows
    ]


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
