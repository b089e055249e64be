"""How the layers are executed: runs of equal layers, in a cycle that repeats and a tail, so that few bodies compile."""

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
    """`repeats` cycles of `runs` and a tail, one more cycle that ends after so many layers of each run:
    `5*swa(1024)+full` on 62 layers is 10 cycles of two runs and 2 layers of the first one."""

    repeats: int
    runs: tuple[Run, ...]
    tail: tuple[int, ...]

    @property
    def cycle_layers(self) -> int:
        """Layers in one cycle."""
        return sum(run.count for run in self.runs)

    def per_cycle(self, kind: BlockKind) -> int:
        """Layers of `kind` in one cycle."""
        return sum(run.count for run in self.runs if run.kind == kind)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers of each run in the whole model: what its stacked state has room for."""
        return tuple(self.repeats * run.count + more for run, more in zip(self.runs, self.tail, strict=True))


def layer_plan(config: ModelConfig) -> LayerPlan:
    """The shortest cycle of layers that are equal in kind and variant, cut into runs.

    What fills less than two cycles is one cycle: a tail would compile its bodies again.
    """
    layers = list(zip(config.block_kinds, config.layout, strict=True))
    cycle_layers = period(layers)
    if len(layers) < 2 * cycle_layers:
        cycle_layers = len(layers)
    repeats, left = divmod(len(layers), cycle_layers)
    runs: list[Run] = []
    seen: dict[BlockKind, int] = {"dense": 0, "moe": 0}
    for (kind, variant), group in itertools.groupby(layers[:cycle_layers]):
        count = len(list(group))
        runs.append(Run(kind, variant, count, sum(seen.values()), seen[kind]))
        seen[kind] += count
    return LayerPlan(repeats, tuple(runs), tuple(min(max(left - run.first, 0), run.count) for run in runs))
