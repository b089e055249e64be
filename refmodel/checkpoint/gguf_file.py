"""A GGUF file, or the parts of one: settings, tensors that may be quantised, a vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import gguf
import jax.numpy as jnp
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from refmodel.checkpoint import delta_tensors
from refmodel.checkpoint.checkpoint import Checkpoint
from refmodel.checkpoint.fused_experts import halved
from refmodel.checkpoint.gguf_header import GgufTensor
from refmodel.checkpoint.gguf_parts import read_parts
from refmodel.checkpoint.placement import Placement, Shape, placements
from refmodel.families import FAMILIES
from refmodel.families.counted import family_named
from refmodel.families.family import Family, GgufHeader
from refmodel.families.gguf_positions import FACTORS
from refmodel.families.positions import factors
from refmodel.fields import Fields, naming
from refmodel.packed.coding import Coding
from refmodel.packed.gguf_blocks import gguf_coding, parts_of_blocks
from refmodel.parameters import Parameter
from refmodel.specification import MOST_LAYERS, ModelConfig
from refmodel.token_ids import ends_outside, in_vocabulary
from refmodel.tokenizer.chat import ChatTemplate, gguf_template
from refmodel.words import shown

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_EMBEDDING: Final = "token_embd.weight"
_PROJECTIONS: Final[Mapping[str, str]] = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
_GATE_UP: Final = "blk.{layer}.ffn_gate_up_exps.weight"
_ROWS: Final = 1024  # dequantised at a time
_FLOATS: Final[Mapping[GGMLQuantizationType, Any]] = MappingProxyType({
    GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16,
    GGMLQuantizationType.BF16: jnp.bfloat16,
})  # fmt: skip


class GgufFile(Checkpoint):
    """A GGUF file; every tensor type that the gguf package dequantises is accepted.

    Tensor data stay on disk; a tensor is mapped into memory when it is read.
    """

    def __init__(self, source: str | Path) -> None:
        self.path = Path(source)
        self.parts = read_parts(self.path)

    @property
    def where(self) -> str:
        return str(self.path)

    @cached_property
    def metadata(self) -> Fields:
        """The file's settings, without the tokenizer's, which are long."""
        return self._settings(of_tokenizer=False)

    def _settings(self, *, of_tokenizer: bool) -> Fields:
        settings = self.parts[0].settings.items()
        return Fields({key: x for key, x in settings if key.startswith("tokenizer.") == of_tokenizer}, self.where)

    @cached_property
    def _tensors(self) -> dict[str, GgufTensor]:
        return {name: tensor for part in self.parts for name, tensor in part.tensors.items()}

    @cached_property
    def family(self) -> Family:
        """The family that the file says it is of."""
        families = {family.architecture: family for family in FAMILIES.values() if family.from_header}
        return family_named(self.metadata, "general.architecture", families)

    @cached_property
    def config(self) -> ModelConfig:
        """The vocabulary is counted on the embedding, and the head is tied if the file has no `output.weight`."""
        family, tensors = self.family, self._tensors
        assert family.from_header is not None
        if _EMBEDDING not in tensors:
            raise ValueError(f"{self.where}: {_EMBEDDING} is missing")
        biased = "".join(one for one, stored in _PROJECTIONS.items() if f"blk.0.{stored}.bias" in tensors)
        header = GgufHeader(
            self._name, self._own, tensors[_EMBEDDING].shape[0], "output.weight" not in tensors, biased,
            "blk.0.ffn_gate.bias" in tensors, self._rope_factors, tensors.keys(),
        )  # fmt: skip
        found = naming(self.where, partial(family.from_header, header))
        return dataclasses.replace(found, family=family.model_type, own_mixers=())

    @cached_property
    def _name(self) -> str:
        """As the file calls its model, where that stands on a line; else the file's own name."""
        return shown(self.metadata.get("general.name", str, "") or self.path.stem)

    def _rope_factors(self, name: str, count: int) -> tuple[float, ...] | None:
        if (stored := f"{name}.weight") not in self._tensors:
            return None
        if (shape := self._tensors[stored].shape) != (count,):
            raise ValueError(f"{self.where}: {stored} has shape {shape}; accepted: {(count,)}, one for each frequency")
        _refuse_unreadable({stored: self._tensors[stored]}, self.where)
        return factors(self.read(stored).tolist(), count, f"{self.where}: {stored}")

    @cached_property
    def _own(self) -> Fields:
        """The settings of the architecture; `block_count` without the layers that predict tokens beyond the next."""
        prefix = f"{self.family.architecture}."
        values = {key.removeprefix(prefix): value for key, value in self.metadata.values.items()}
        own = Fields(values, f"{self.where}: {self.family.architecture}")
        extra = own.within("nextn_predict_layers", 0, MOST_LAYERS, 0, int)
        return Fields({**values, "block_count": own.get("block_count", int) - extra}, own.where) if extra else own

    def shapes(self) -> dict[str, Shape]:
        """Without the factors of rotary frequencies, which the description holds, and what is said to be left out."""
        left_out = {*(f"{one}.weight" for one in FACTORS), *self._of_other_tokens}
        taking_part = {name: tensor for name, tensor in self._tensors.items() if name not in left_out}
        _refuse_unreadable(taking_part, self.where)
        return {name: tensor.shape for name, tensor in taking_part.items()}

    @cached_property
    def _of_other_tokens(self) -> list[str]:
        """Tensors of layers that predict tokens beyond the next, which follow the others."""
        first, extra = self.config.n_layers, self._own.get("nextn_predict_layers", int, 0)
        layers = tuple(f"blk.{first + i}." for i in range(extra))
        return [name for name in self._tensors if name.startswith(layers)]

    def remarks(self) -> list[str]:
        found = self._of_other_tokens
        said = [f"left out: {len(found)} tensors that predict tokens beyond the next"] if found else []
        return [f"{self.where}: {one}" for one in (*said, *ends_outside(self._told_ends, self.config.vocab_size))]

    def placements(self) -> list[Placement]:
        placed = placements(self.config, self._stored_name, len(self._tensors), self.where)
        return [self._laid_out(_unpacked(one, self.family.interleaves_heads)) for one in placed]

    def _stored_name(self, row: Parameter) -> str:
        if row.path in ("ffn.gate", "ffn.up") and row.copies > 1 and _GATE_UP.format(layer=0) in self._tensors:
            return _GATE_UP
        return self.family.gguf_names.get(row.path, row.gguf)

    def _laid_out(self, one: Placement) -> Placement:
        """Experts and DeltaNet layers as the file has them."""
        if one.name.endswith(_GATE_UP.rpartition(".{layer}.")[2]):
            return halved(one.row.path.removeprefix("ffn."), one)
        if one.row.path == "ffn.shared_weight":  # a vector, or a matrix of one row
            stored = self._tensors.get(one.name)
            return one if stored is None or len(stored.shape) > 1 else dataclasses.replace(one, shape=one.shape[1:])
        if not (delta := delta_tensors.of_delta(self.config, one)):
            return one
        one = delta_tensors.together(one, delta, self._tensors)
        return delta_tensors.untiled(one, delta) if self.family.tiles_value_heads else one

    def read(self, name: str) -> np.ndarray:
        return _dequantised(self._tensors[name])

    def stored_coding(self, one: Placement) -> Coding | None:
        tensor = self._tensors[one.name]
        coding = gguf_coding(tensor.kind)
        return coding if coding and coding.holds(tensor.shape[-1]) else None

    def stored_parts(self, one: Placement) -> Mapping[str, np.ndarray]:
        tensor = self._tensors[one.name]
        assert isinstance(tensor.kind, GGMLQuantizationType)
        rows = one.pick(tensor.rows().reshape(*tensor.shape[:-1], -1))
        return parts_of_blocks(tensor.kind, rows.reshape(*one.row.stored_shape[:-1], -1))

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from refmodel.tokenizer.gguf import gguf_tokenizer

        return gguf_tokenizer(self._settings(of_tokenizer=True))

    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def chat_template(self) -> ChatTemplate | None:
        return gguf_template(self._settings(of_tokenizer=True))

    def end_tokens(self) -> tuple[int, ...]:
        return in_vocabulary(self._told_ends, self.config.vocab_size)

    @cached_property
    def _told_ends(self) -> tuple[int, ...]:
        from refmodel.tokenizer.gguf import gguf_end_tokens

        return gguf_end_tokens(self._settings(of_tokenizer=True))


def _refuse_unreadable(tensors: Mapping[str, GgufTensor], where: str) -> None:
    """Before anything is read: types that the gguf package does not turn into numbers, and a file that ends early."""
    readable = {kind: _is_readable(kind) for kind in {tensor.kind for tensor in tensors.values()}}
    for name, tensor in tensors.items():
        if not readable[tensor.kind]:
            raise ValueError(
                f"{where}: {name} is stored as {tensor.kind_name}, which the package gguf does not turn into numbers; "
                "take the file in another quantisation, such as Q8_0; costs need no weights"
            )
        if tensor.place is None:
            raise ValueError(f"{where} ends before its tensor {name} does: fetch the file again")


def _is_readable(kind: GGMLQuantizationType | int) -> bool:
    if not isinstance(kind, GGMLQuantizationType):
        return False
    try:
        gguf.dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _unpacked(one: Placement, interleaved: bool) -> Placement:
    """With what llama.cpp's converter did to a tensor undone."""
    if one.row.gguf_adds:
        return dataclasses.replace(one, pick=lambda stored: stored.astype(np.float32) - one.row.gguf_adds)
    if interleaved and one.row.path in ("attn.q", "attn.k", "attn.q_bias", "attn.k_bias"):
        return dataclasses.replace(one, pick=lambda stored: _split_halves(stored, one.row.shape[-1]))
    return one


def _split_halves(stored: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of q or k [N*H, D], or biases [N*H], from the order for interleaved RoPE back to that for half-split RoPE.

    The llama architecture stores a head's rows as 0, H/2, 1, H/2 + 1, ...; other architectures do not.
    """
    pairs = stored.reshape(-1, head_dim // 2, 2, *stored.shape[1:])
    return pairs.swapaxes(1, 2).reshape(stored.shape)


def _dequantised(tensor: GgufTensor) -> np.ndarray:
    """The tensor: floats as they are stored, and others in float32.

    They are taken row group by row group: `gguf.dequantize` alone holds its result twice.
    """
    assert isinstance(tensor.kind, GGMLQuantizationType)
    stored = tensor.rows()
    if (dtype := _FLOATS.get(tensor.kind)) is not None:
        return stored.view(dtype).reshape(tensor.shape)
    values = np.empty((len(stored), tensor.shape[-1]), np.float32)
    with np.errstate(all="ignore"):  # numbers that are none are stored as such
        for start in range(0, len(stored), _ROWS):
            values[start : start + _ROWS] = gguf.dequantize(stored[start : start + _ROWS], tensor.kind)
    return values.reshape(tensor.shape)
