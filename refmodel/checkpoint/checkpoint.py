"""What a checkpoint is, whatever its format: description, tensors by stored name, tokenizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from refmodel.checkpoint.placement import Placement, Shape, fill
from refmodel.specification import ModelConfig
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

    def fetched(self) -> Checkpoint:
        """The same with all its files on this machine."""
        return self

    def params(self, dtype: Any) -> Params:
        """The parameter tree in `dtype`; never part of one."""
        return fill(self.config, dtype, self.placements(), self.shapes(), self.read, self.where)
