"""Random weights, as a checkpoint without files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from refmodel.checkpoint.packing import Weights
from refmodel.specification import ModelConfig
from refmodel.tree import Params
from refmodel.weights.random import random_params


@dataclass(frozen=True)
class RandomWeights:
    """The model of a description, with weights drawn from a seed; it has no tokenizer."""

    config: ModelConfig
    seed: int = 0

    @property
    def described(self) -> ModelConfig:
        return self.config

    @property
    def weights(self) -> str:
        """Whose weights they are, for records."""
        return f"random (seed {self.seed})"

    def params(self, dtype: Any, weights: Weights = None) -> Params:
        if isinstance(weights, str):
            raise ValueError(f"{self.config.name} has no files whose weights could be {weights}: name a format")
        return random_params(self.config, self.seed, dtype, weights)

    def fetched(self) -> RandomWeights:
        return self

    def remarks(self) -> list[str]:
        return []

    def tokenizer(self) -> NoReturn:
        raise ValueError(f"{self.config.name} with {self.weights} weights has no tokenizer: give token ids")

    def end_tokens(self) -> tuple[int, ...]:
        return ()

    def chat_template(self) -> None:
        return None
