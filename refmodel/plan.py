"""How the layers are executed: runs of equal layers, in a cycle that repeats and a tail, so that few bodies compile."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

from attention.layout import period
from attention.mixer import Mixer
from refmodel.layer_spec import LayerSpec
from refmodel.specification import ModelConfig


@dataclass(frozen=True)
class Run:
    """`count` consecutive equal layers: layers `first`, first + 1, ... of a cycle, of which the first is number
    `first_of_kind` of its stack there."""

    layer: LayerSpec
    count: int
    first: int
    first_of_kind: int

    @property
    def kind(self) -> str:
        """The stack that holds the layers' parameters."""
        return self.layer.stack_name

    @property
    def variant(self) -> Mixer:
        return self.layer.variant


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

    def per_cycle(self, kind: str) -> int:
        """Layers of the stack `kind` in one cycle."""
        return sum(run.count for run in self.runs if run.kind == kind)

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers of each run in the whole model: what its stacked state has room for."""
        return tuple(self.repeats * run.count + more for run, more in zip(self.runs, self.tail, strict=True))


def layer_plan(config: ModelConfig) -> LayerPlan:
    """The shortest cycle of layers, cut into runs of equal ones.

    What fills less than two cycles is one cycle: a tail would compile its bodies again.
    """
    cycle_layers = period(config.layers)
    if config.n_layers < 2 * cycle_layers:
        cycle_layers = config.n_layers
    repeats, left = divmod(config.n_layers, cycle_layers)
    runs: list[Run] = []
    seen: Counter[str] = Counter()
    for layer, group in itertools.groupby(config.layers[:cycle_layers]):
        count = len(list(group))
        runs.append(Run(layer, count, seen.total(), seen[layer.stack_name]))
        seen[layer.stack_name] += count
    return LayerPlan(repeats, tuple(runs), tuple(min(max(left - run.first, 0), run.count) for run in runs))
