"""Which leaves of a tree are packed as they are read, and their parts: as the files have them, or packed here.

Floats are packed tensor by tensor, so that no more than one large one is expanded at a time.  What files hold packed is
kept bit for bit: rows of blocks are picked and ordered as rows of numbers would be, and never become any.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol, cast

import numpy as np

from attention.checks import of_kind
from refmodel.checkpoint.placement import Placement
from refmodel.packed.coding import Coding
from refmodel.packed.codings import BY_GROUP, parse_coding
from refmodel.packed.rule import is_packed, row_bytes
from refmodel.packed.scaled import Encoder
from refmodel.parameters import Parameter
from refmodel.specification import ModelConfig
from refmodel.tree import model_leaves

KEPT: Final = "kept"
Weights = Coding | Literal["kept"] | None
"""How weights are held: packed in a coding, as their files have them (`KEPT`), or expanded (None)."""


def weights_named(text: str | None) -> Weights:
    """What `kept`, the name of a coding, or None says.  Raises `ValueError` for another name."""
    if text is None:
        return None
    if text == KEPT:
        return KEPT
    of_kind("weights: the name of a format", text, str)
    return parse_coding(text, also=(KEPT,))


class Stored(Protocol):
    """What is asked of a checkpoint (`refmodel.checkpoint.checkpoint.Checkpoint`)."""

    def read(self, name: str) -> np.ndarray: ...

    def stored_coding(self, one: Placement) -> Coding | None: ...

    def stored_parts(self, one: Placement) -> Mapping[str, np.ndarray]: ...


class Packing(ABC):
    """The base; `expands` says whether a tensor becomes numbers on its way."""

    expands: ClassVar[bool] = True

    @abstractmethod
    def codings(self, row: Parameter, placed: Sequence[Placement]) -> tuple[Coding, ...] | None:
        """Of each of the tensors that fill the leaf of a row; None where it is not packed."""

    @abstractmethod
    def parts(self, coding: Coding, one: Placement) -> Mapping[str, np.ndarray]:
        """The coding's arrays of what one tensor fills, the experts' axis in front where it holds several."""


@dataclass(frozen=True)
class PackedHere(Packing):
    """Everything that `refmodel.packed.rule` takes, in one coding."""

    checkpoint: Stored
    encoder: Encoder

    def codings(self, row: Parameter, placed: Sequence[Placement]) -> tuple[Coding, ...] | None:
        return (self.encoder,) * len(placed) if is_packed(row, self.encoder) else None

    def parts(self, coding: Coding, one: Placement) -> Mapping[str, np.ndarray]:
        stored = one.pick(self.checkpoint.read(one.name)).reshape(one.row.stored_shape)
        return self.encoder.encode(stored)


@dataclass(frozen=True)
class AsStored(Packing):
    """What the files hold in codings that are known, where every tensor of a leaf is in one."""

    expands: ClassVar[bool] = False

    checkpoint: Stored

    def codings(self, row: Parameter, placed: Sequence[Placement]) -> tuple[Coding, ...] | None:
        found = [self.checkpoint.stored_coding(one) if one.picks_rows else None for one in placed]
        known = tuple(coding for coding in found if coding and is_packed(row, coding))
        return known if len(known) == len(placed) else None

    def parts(self, coding: Coding, one: Placement) -> Mapping[str, np.ndarray]:
        return self.checkpoint.stored_parts(one)


def packing_of(checkpoint: Stored, weights: Weights) -> Packing | None:
    """How the weights of a checkpoint are packed; None where they are expanded."""
    if weights is None:
        return None
    if isinstance(weights, str):
        return AsStored(checkpoint)
    refuse_to_pack(weights)
    return PackedHere(checkpoint, cast(Encoder, weights))


def refuse_to_pack(weights: Weights) -> None:
    """Raises `ValueError` for a coding that numbers of files are not packed in."""
    if isinstance(weights, Coding) and not isinstance(weights, Encoder):
        accepted = ", ".join(BY_GROUP)
        raise ValueError(f"weights are packed here in {accepted}; {weights.name} is kept where files have it")


def held_bytes(config: ModelConfig, placed: Sequence[Placement], packing: Packing | None, dtype: Any) -> int:
    """Of the parameters that those tensors fill, packed or in `dtype`."""
    total, leaves = 0, model_leaves(config)
    sources: dict[str, list[Placement]] = {}
    for one in placed:
        sources.setdefault(one.leaf, []).append(one)
    for path, tensors in sources.items():
        codings = packing.codings(leaves[path].row, tensors) if packing else None
        for one, coding in zip(tensors, codings or (None,) * len(tensors), strict=True):
            total += row_bytes(one.row, dtype, coding)
    return total
