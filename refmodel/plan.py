"""How the layers are executed: runs of equal layers, in a cycle that repeats, so that few bodies are compiled."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from attention.layout import period
from attention.variant import Variant
from refmodel.config import BlockKind, ModelConfig


@dataclass(frozen=True)
class Run:
    """`count` consecutive layers of one kind and variant: layers `first`, first + 1, ... of a cycle, of which the
    first is number `first_of_kind` of its kind there."""

    kind: BlockKind
    variant: Variant
    count: int
    first: int
    first_of_kind: int


@dataclass(frozen=True)
class LayerPlan:
    """`repeats` cycles of `runs`: `5*swa(1024)+full` on 48 layers is 8 cycles of two runs."""

    repeats: int
    runs: tuple[Run, ...]

    @property
    def cycle_layers(self) -> int:
        """Layers in one cycle."""
        return sum(run.count for run in self.runs)

    def per_cycle(self, kind: BlockKind) -> int:
        """Layers of `kind` in one cycle."""
        return sum(run.count for run in self.runs if run.kind == kind)


def layer_plan(config: ModelConfig) -> LayerPlan:
    """The shortest cycle of layers that are equal in kind and variant, cut into runs."""
    layers = list(zip(config.block_kinds, config.layout, strict=True))
    cycle = layers[: period(layers)]
    runs: list[Run] = []
    seen: dict[BlockKind, int] = {"dense": 0, "moe": 0}
    for (kind, variant), group in itertools.groupby(cycle):
        count = len(list(group))
        runs.append(Run(kind, variant, count, sum(seen.values()), seen[kind]))
        seen[kind] += count
    return LayerPlan(len(layers) // len(cycle), tuple(runs))
