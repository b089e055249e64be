"""The description of a model from the metadata of a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gguf import GGUFReader

from refmodel.families import FAMILIES
from refmodel.families.family import Family, GgufHeader
from refmodel.fields import Fields
from refmodel.open_gguf import metadata, open_gguf, path_of
from refmodel.specification import ModelConfig

_EMBEDDING: Final = "token_embd.weight"


def from_gguf(source: str | Path | GGUFReader) -> ModelConfig:
    """The model that a GGUF file describes.

    The vocabulary is counted on the embedding, and the head is tied if the file has no `output.weight`.  Raises
    `ValueError` naming the field for a model that this project does not compute.
    """
    reader = open_gguf(source)
    fields, family = metadata(reader), family_of(reader)
    prefix = f"{family.architecture}."
    own_values = {key.removeprefix(prefix): value for key, value in fields.values.items()}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if _EMBEDDING not in tensors:
        raise ValueError(f"{fields.where}: {_EMBEDDING} is missing")
    header = GgufHeader(
        fields.get("general.name", str, path_of(reader).stem),
        Fields(own_values, f"{fields.where}: {family.architecture}"),
        int(tensors[_EMBEDDING].shape[-1]),
        "output.weight" not in tensors,
    )
    assert family.from_header is not None
    return family.from_header(header)


def family_of(reader: GGUFReader) -> Family:
    """The family that a file says it is of."""
    families = {family.architecture: family for family in FAMILIES.values() if family.from_header}
    return families[metadata(reader).choice("general.architecture", *sorted(families))]
