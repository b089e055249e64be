"""A Hugging Face folder: config.json and safetensors, in one file or in shards."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from refmodel.checkpoint.checkpoint import Checkpoint
from refmodel.checkpoint.folder_files import StoredTensor, same_numbers, stored_tensors
from refmodel.checkpoint.folder_placements import placements_found
from refmodel.checkpoint.formats import WEIGHT_FORMATS, WeightFormat, format_of
from refmodel.checkpoint.placement import Placement, Shape, whole
from refmodel.checkpoint.recognise import refuse_no_model, refuse_pointer
from refmodel.checkpoint.stored_names import harmless, own_names
from refmodel.families.family import Family
from refmodel.json_object import read_json
from refmodel.packed.coding import Coding
from refmodel.read_hf_config import read_hf
from refmodel.specification import ModelConfig
from refmodel.token_ids import ends_outside, in_vocabulary
from refmodel.tokenizer.chat import ChatTemplate
from refmodel.words import reason, shown

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_EMBEDDING: Final = "model.embed_tokens.weight"
_HEAD: Final = "lm_head.weight"


class SafetensorsFolder(Checkpoint):
    """config.json, a tokenizer, and `model.safetensors` or the shards that `model.safetensors.index.json` names.

    Experts may be stored one by one or fused.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def where(self) -> str:
        return str(self.folder)

    @cached_property
    def config(self) -> ModelConfig:
        """What config.json says, but for a head that it calls tied and that is stored with numbers of its own."""
        tied = self.described.tied_head and not self._has_head_of_its_own
        return dataclasses.replace(self.described, tied_head=tied)

    @cached_property
    def described(self) -> ModelConfig:
        """What config.json says."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[Family, ModelConfig]:
        return _read_config(self.folder)

    @cached_property
    def _has_head_of_its_own(self) -> bool:
        """A head beside the embedding that differs from it."""
        if _HEAD not in self._files or _EMBEDDING not in self._files:
            return False
        head, embedding = (self._format(name) for name in (_HEAD, _EMBEDDING))
        if head.shape(self._files[_HEAD].shape) != embedding.shape(self._files[_EMBEDDING].shape):
            return True
        return not same_numbers(self._decoded(_HEAD, head), self._decoded(_EMBEDDING, embedding))

    @cached_property
    def _files(self) -> dict[str, StoredTensor]:
        """Every stored tensor by its own name; a tied head that is stored alone is the embedding."""
        stored = stored_tensors(self.folder)
        found = {own: stored[name] for own, name in own_names(stored, self.where).items()}
        if self.described.tied_head and _EMBEDDING not in found and _HEAD in found:
            found[_EMBEDDING] = found.pop(_HEAD)
        return found

    @cached_property
    def _left_out(self) -> Mapping[str, list[str]]:
        """What takes no part, by what it is."""
        return harmless(self._files, self.described.n_layers)

    def remarks(self) -> list[str]:
        said = [f"left out: {len(names)} {what}" for what, names in self._left_out.items()]
        if self.described.tied_head and self._has_head_of_its_own:
            said.append(
                f"config.json says that the head is the embedding, but {_HEAD} is stored with other values: it is the "
                "head, as in transformers 5"
            )
        said += ends_outside(self._told_ends, self.described.vocab_size)
        return [f"{self.where}: {one}" for one in said]

    @cached_property
    def _formats(self) -> dict[str, WeightFormat]:
        """Of each tensor that takes part and belongs to no other."""
        left_out = {name for names in self._left_out.values() for name in names}
        found = {name: self._found(name) for name in self._files if name not in left_out}
        beside = {part for name, one in found.items() if one for part in one.names_beside(name)}
        if self.config.tied_head:
            found.pop(_HEAD, None)  # a copy of the embedding
        return {name: self._format(name) for name in sorted(found.keys() - beside)}

    @cached_property
    def _method(self) -> str:
        """Of quantisation, as config.json names it: "awq", "gptq", "gptq_v2"; empty where it names none."""
        told = read_json(self.folder / "config.json").get("quantization_config")
        if not isinstance(told, Mapping):
            return ""
        newer = told.get("checkpoint_format") == "gptq_v2"
        return "gptq_v2" if newer else str(told.get("quant_method", ""))

    def _found(self, name: str) -> WeightFormat | None:
        return format_of(name, self._files[name].dtype, self._method)

    def _format(self, name: str) -> WeightFormat:
        """Of one tensor.  Raises `ValueError` for none, and where what belongs to it is missing or misshapen."""
        files = self._files
        if (one := self._found(name)) is None:
            accepted = ", ".join(WEIGHT_FORMATS)
            raise ValueError(f"{self.where}: {shown(name)} is stored as {files[name].dtype}; accepted: {accepted}")
        beside = one.names_beside(name)
        if missing := [part for part in beside if part not in files]:
            raise ValueError(f"{self.where}: {shown(missing[0])} is missing, which {shown(name)} is read with")
        for part, types in zip(beside, one.beside_types, strict=bool(one.beside_types)):
            if files[part].dtype not in types:
                accepted = ", ".join(types)
                raise ValueError(f"{self.where}: {shown(part)} is stored as {files[part].dtype}; accepted: {accepted}")
        shapes = [files[part].shape for part in beside]
        if not one.fits(one.shape(files[name].shape), *shapes):
            raise ValueError(
                f"{self.where}: beside {shown(name)} of {one.name}{list(files[name].shape)} "
                f"its {', '.join(one.beside)} may not be {', '.join(str(list(shape)) for shape in shapes)}"
            )
        return one

    def shapes(self) -> dict[str, Shape]:
        return {name: one.shape(self._files[name].shape) for name, one in self._formats.items()}

    def placements(self) -> list[Placement]:
        family, _ = self._read
        return placements_found(self.config, family, self._formats, self.where)

    def read(self, name: str) -> np.ndarray:
        return self._decoded(name, self._formats[name])

    def _decoded(self, name: str, one: WeightFormat) -> np.ndarray:
        try:
            found = one.decode(*(self._files[part].array() for part in (name, *one.names_beside(name))))
        except ValueError as error:
            raise ValueError(f"{self.where}: {shown(name)} cannot be read ({reason(error)})") from error
        if found.shape != (wanted := one.shape(self._files[name].shape)):
            raise ValueError(f"{self.where}: {one.name} makes {found.shape} of {shown(name)}; accepted: {wanted}")
        return found

    def stored_coding(self, one: Placement) -> Coding | None:
        stored = self._formats[one.name]
        name, *beside = (self._files[part].shape for part in (one.name, *stored.names_beside(one.name)))
        coding = stored.keeps(stored.shape(name), *beside)
        return coding if coding and (coding.is_row_by_row or one.pick is whole) else None

    def stored_parts(self, one: Placement) -> Mapping[str, np.ndarray]:
        stored = self._formats[one.name]
        assert stored.parts
        try:
            _, parts = stored.parts(*(self._files[part].array() for part in (one.name, *stored.names_beside(one.name))))
        except ValueError as error:
            raise ValueError(f"{self.where}: {shown(one.name)} cannot be read ({reason(error)})") from error
        return {name: one.pick(part) for name, part in parts.items()}

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from refmodel.tokenizer.folder import folder_tokenizer

        return folder_tokenizer(self.folder)

    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def chat_template(self) -> ChatTemplate | None:
        from refmodel.tokenizer.folder import folder_template

        return folder_template(self.folder)

    def end_tokens(self) -> tuple[int, ...]:
        return in_vocabulary(self._told_ends, self.described.vocab_size)

    @cached_property
    def _told_ends(self) -> tuple[int, ...]:
        """Those of generation_config.json, or else of config.json, as in transformers."""
        for path in (self.folder / "generation_config.json", self.folder / "config.json"):
            refuse_pointer(path)
            ends = read_json(path).get("eos_token_id")
            if ends is not None:
                return _ids(ends, path)
        return ()


def _ids(ends: Any, where: Path) -> tuple[int, ...]:
    found = ends if isinstance(ends, list) else [ends]
    if not all(type(one) is int for one in found):
        raise ValueError(f"{where}: eos_token_id is {reprlib.repr(ends)}; accepted: a token id, or a list of them")
    return tuple(sorted(set(found)))


def _read_config(folder: Path) -> tuple[Family, ModelConfig]:
    refuse_no_model(folder)
    return read_hf(folder / "config.json")
