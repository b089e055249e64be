"""Predicted times on a card that was not measured: the floor, what others reached there, and what the compiler made.

    ms = 1e3 · max( FLOPs / (peak · e),  bytes / (bandwidth · e_bandwidth) )

The efficiency e has an interval: the spread of the efficiencies that published measurements on this card imply
(`eval.validate`).  The compiled kernel bounds it from above.  WMMA and vector instructions of a wave do not overlap on
this architecture, so that a loop of m matrix and v vector instructions reaches at most

    e_code = c·m / (c·m + v)        c cycles of a SIMD per matrix instruction

of the peak: softmax work that cannot be hidden.  These are predictions: nothing ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.flops.closed_form import COMPONENTS
from eval.hardware import Card
from eval.lowering.kernels import Kernel
from eval.lowering.loops import Code
from eval.lowering.target import Target
from eval.published import published
from eval.roofline import Assumptions, floors
from eval.validate import validate
from refmodel.config import ModelConfig
from refmodel.schedule import prefill_steps


@dataclass(frozen=True)
class Range:
    """A figure and how far it may be off."""

    low: float
    middle: float
    high: float

    def below(self, bound: float) -> Range:
        return Range(*(min(value, bound) for value in (self.low, self.middle, self.high)))


@dataclass(frozen=True)
class Predicted:
    """One component: least time, predicted time, and what the prediction rests on."""

    component: str
    floor_ms: float
    ms: Range
    evidence: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "label": "predicted"}


def code_bounds(kernels: Iterable[Kernel], target: Target) -> dict[str, float]:
    """e_code by component: of its kernel with the most matrix work in the inner loop, where there is one."""
    heaviest: dict[str, Code] = {}
    for kernel in kernels:
        loop, known = kernel.loop, heaviest.get(kernel.component)
        if loop and loop.matrix and (known is None or loop.matrix > known.matrix):
            heaviest[kernel.component] = loop
    cycles = target.matrix_cycles
    return {
        name: cycles * loop.matrix / (cycles * loop.matrix + loop.kinds.get("vector", 0))
        for name, loop in heaviest.items()
    }


def published_efficiencies(card: Card) -> dict[str, tuple[Range, str]]:
    """The spread of efficiencies on one such card, for `linear` and `attention`, with what it rests on."""
    predictions, _ = validate(published(), card)
    rows = [one for one in predictions if "2 cards" not in one.row.family and one.used.physical]
    if len(rows) < 5:
        raise ValueError(f"too few published measurements on {card.name} to predict from: {len(rows)}")
    spread = {}
    for part, best in (("linear", "gemm_bf16_flops_per_s"), ("attention", "attention_flops_per_s")):
        values = [getattr(one.used, part) for one in rows]
        low, middle, high = (float(x) for x in np.quantile(values, (0.05, 0.5, 0.95)))
        words = f"{len(rows)} published prefills on this card"
        if best in card.measured:
            high = max(high, card.measured[best].value / card.peak_flops_per_s("bf16"))
            words += f"; best case {card.measured[best].source}"
        spread[part] = Range(low, middle, high), words
    return spread


def predict_prefill(
    model: ModelConfig, tokens: int, card: Card, under: Assumptions, bounds: Mapping[str, float]
) -> list[Predicted]:
    """Floor and predicted time of each component of one prefill; `bounds` holds e_code by component."""
    attained = published_efficiencies(card)
    reached = card.measured.get("bandwidth_bytes_per_s")
    bandwidth = reached.value / card.bandwidth_bytes_per_s if reached else 1.0
    work = floors(model, prefill_steps(tokens), card, under)
    made = []
    for component in (*(name for name in COMPONENTS if name in work), *sorted(set(work) - set(COMPONENTS))):
        floor = work[component]
        efficiency, evidence = attained["attention" if component == "attention" else "linear"]
        if bounds.get(component, 1.0) < efficiency.high:
            efficiency = efficiency.below(bounds[component])
            evidence += f"; compiled inner loop: at most {100 * bounds[component]:.0f} % of peak"
        times = (max(floor.compute_ms / e, floor.memory_ms / bandwidth) for e in
                 (efficiency.high, efficiency.middle, efficiency.low))  # fmt: skip
        made.append(Predicted(component, floor.ms, Range(*times), evidence))
    return made
