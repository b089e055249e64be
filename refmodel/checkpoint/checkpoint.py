"""What a checkpoint is, whatever its format: description, tensors by stored name, tokenizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from refmodel.checkpoint.fill import check_placed, fill
from refmodel.checkpoint.packing import Weights, held_bytes, packing_of
from refmodel.checkpoint.placement import Placement, Shape
from refmodel.packed.coding import Coding
from refmodel.specification import ModelConfig
from refmodel.tokenizer.chat import ChatTemplate
from refmodel.tree import Params

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Checkpoint(ABC):
    """Base of the formats.  Everything raises `ValueError` naming the file, the field or the tensor at fault."""

    weights: str = "checkpoint"
    """Whose weights they are, for records."""

    @property
    @abstractmethod
    def config(self) -> ModelConfig:
        """The description of the model that `params` reads."""

    @property
    def described(self) -> ModelConfig:
        """What the files say that the model is, for which no weight is looked at: for costs."""
        return self.config

    @property
    @abstractmethod
    def where(self) -> str:
        """The files, for messages."""

    @abstractmethod
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of every tensor that takes part, by its stored name, [out, in]."""

    @abstractmethod
    def placements(self) -> list[Placement]:
        """Which stored tensor goes where."""

    @abstractmethod
    def read(self, name: str) -> np.ndarray:
        """A tensor in any floating dtype."""

    def remarks(self) -> list[str]:
        """What is left out or read otherwise than the files say, a line each."""
        return []

    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.  Raises `ValueError` where it has none that can be read; token ids need none."""

    @abstractmethod
    def end_tokens(self) -> tuple[int, ...]:
        """The ids of the vocabulary that end a text, as the files say; none where they do not."""

    @abstractmethod
    def chat_template(self) -> ChatTemplate | None:
        """What a user's turn is put into; None where the files have none."""

    def fetched(self) -> Checkpoint:
        """The same with all its files on this machine."""
        return self

    def stored_coding(self, one: Placement) -> Coding | None:
        """Of a tensor whose rows, those that a placement picks, can stay packed as they are stored; None for others."""
        return None

    def stored_parts(self, one: Placement) -> Mapping[str, np.ndarray]:
        """The arrays of `stored_coding` of what a tensor fills."""
        raise NotImplementedError

    def held_bytes(self, dtype: Any, weights: Weights = None) -> int:
        """What `params` takes.  Raises `ValueError` for a missing, surplus or misshapen tensor."""
        placed = self.placements()
        check_placed(placed, self.shapes(), self.where)
        return held_bytes(self.config, placed, packing_of(self, weights), dtype)

    def params(self, dtype: Any, weights: Weights = None) -> Params:
        """The parameter tree in `dtype`, packed as `weights` says; never part of one."""
        packing = packing_of(self, weights)
        return fill(self.config, dtype, self.placements(), self.shapes(), self.read, self.where, packing)
