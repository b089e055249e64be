"""A GGUF file: a header, tensors that may be quantised, a vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import gguf
import numpy as np
from gguf import GGUFReader, ReaderTensor

from refmodel.checkpoint.checkpoint import Checkpoint
from refmodel.checkpoint.placement import Placement, Shape, placements
from refmodel.families import FAMILIES
from refmodel.families.family import Family, GgufHeader
from refmodel.families.gguf_positions import FACTORS
from refmodel.fields import Fields
from refmodel.specification import ModelConfig

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_EMBEDDING: Final = "token_embd.weight"
_PROJECTIONS: Final[Mapping[str, str]] = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
_ROWS: Final = 1024  # dequantised at a time


class GgufFile(Checkpoint):
    """A GGUF file; every tensor type that the gguf package dequantises is accepted.

    Opening one takes seconds; tensor data stay on disk, mapped into memory.
    """

    def __init__(self, source: str | Path) -> None:
        self.reader = _open(source)
        self.path = Path(source)

    @property
    def where(self) -> str:
        return str(self.path)

    @cached_property
    def metadata(self) -> Fields:
        """The file's settings, without the tokenizer's, which are long."""
        return self._settings(of_tokenizer=False)

    def _settings(self, *, of_tokenizer: bool) -> Fields:
        fields = {
            key: field for key, field in self.reader.fields.items() if key.startswith("tokenizer.") == of_tokenizer
        }
        return Fields({key: field.contents() for key, field in fields.items()}, self.where)

    @cached_property
    def _tensors(self) -> dict[str, ReaderTensor]:
        return {tensor.name: tensor for tensor in self.reader.tensors}

    @cached_property
    def family(self) -> Family:
        """The family that the file says it is of."""
        families = {family.architecture: family for family in FAMILIES.values() if family.from_header}
        return families[self.metadata.choice("general.architecture", *sorted(families))]

    @cached_property
    def config(self) -> ModelConfig:
        """The vocabulary is counted on the embedding, and the head is tied if the file has no `output.weight`."""
        family, tensors = self.family, self._tensors
        assert family.from_header is not None
        if _EMBEDDING not in tensors:
            raise ValueError(f"{self.where}: {_EMBEDDING} is missing")
        prefix = f"{family.architecture}."
        own = {key.removeprefix(prefix): value for key, value in self.metadata.values.items()}
        name = self.metadata.get("general.name", str, self.path.stem)
        fields = Fields(own, f"{self.where}: {family.architecture}")
        biased = "".join(one for one, stored in _PROJECTIONS.items() if f"blk.0.{stored}.bias" in tensors)
        factors = {one: tuple(self.read(f"{one}.weight").tolist()) for one in FACTORS if f"{one}.weight" in tensors}
        return family.from_header(
            GgufHeader(
                name, fields, int(tensors[_EMBEDDING].shape[-1]), "output.weight" not in tensors, biased,
                "blk.0.ffn_gate.bias" in tensors, factors,
            )
        )  # fmt: skip

    def shapes(self) -> dict[str, Shape]:
        """Without the factors of rotary frequencies, which the description holds."""
        factors = {f"{one}.weight" for one in FACTORS}
        return {name: _shape(tensor) for name, tensor in self._tensors.items() if name not in factors}

    def placements(self) -> list[Placement]:
        return [_unpacked(one, self.family.interleaves_heads) for one in placements(self.config, lambda row: row.gguf)]

    def read(self, name: str) -> np.ndarray:
        return _dequantised(self._tensors[name], self.where)

    def tokenizer(self) -> Tokenizer:
        from refmodel.tokenizer import vocabulary_tokenizer

        return vocabulary_tokenizer(self._settings(of_tokenizer=True))


def _open(source: str | Path) -> GGUFReader:
    """The one place where the reader's own errors are turned into ours."""
    try:
        reader = GGUFReader(source)
    except Exception as error:  # the reader indexes into whatever it finds: any exception type may come out
        raise ValueError(f"{source}: not a readable GGUF file ({type(error).__name__}: {error})") from error
    if reader.byte_order != "I":
        raise ValueError(f"{source}: the GGUF file's byte order is not this machine's")
    return reader


def _unpacked(one: Placement, interleaved: bool) -> Placement:
    """With what llama.cpp's converter did to a tensor undone."""
    row = one.row
    if row.gguf_adds:
        return dataclasses.replace(one, pick=lambda stored: stored - row.gguf_adds)
    if interleaved and row.path in ("attn.q", "attn.k", "attn.q_bias", "attn.k_bias"):
        return dataclasses.replace(one, pick=lambda stored: _split_halves(stored, row.shape[-1]))
    return one


def _split_halves(stored: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of q or k [N*H, D], or biases [N*H], from the order for interleaved RoPE back to that for half-split RoPE.

    The llama architecture stores a head's rows as 0, H/2, 1, H/2 + 1, ...; other architectures do not.
    """
    pairs = stored.reshape(-1, head_dim // 2, 2, *stored.shape[1:])
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
