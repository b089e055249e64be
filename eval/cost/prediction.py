"""Predicted times on a card that was not measured: the floor, and what others reached there.

    ms = 1e3 · max( FLOPs / (peak · e),  bytes / (bandwidth · e_bandwidth) )

The efficiency e has an interval: the spread of the efficiencies that published measurements on this card imply
(`eval.cost.efficiency.attained`).  A compiled kernel bounds it from above (`eval.lowering.code_bounds`).
These are predictions: nothing ran.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eval.cost.cards import Card
from eval.cost.efficiency.attained import Attained, attained
from eval.cost.flops.closed_form import COMPONENTS
from eval.cost.published import published
from eval.cost.roofline import Assumptions, floors
from refmodel.schedule import prefill_steps
from refmodel.specification import ModelConfig


@dataclass(frozen=True)
class Range:
    """A figure and how far it may be off."""

    low: float
    middle: float
    high: float

    def below(self, bound: float) -> Range:
        return Range(*(min(value, bound) for value in (self.low, self.middle, self.high)))


@dataclass(frozen=True)
class Occupancy:
    """Waves of a SIMD, and the cycles that one turn of the loop of one wave issues for."""

    waves: int
    issue_cycles: int

    @property
    def hidden_cycles(self) -> int:
        """Latency per turn that the other waves hide."""
        return (self.waves - 1) * self.issue_cycles


@dataclass(frozen=True)
class Predicted:
    """One component: least time, predicted time, what the prediction rests on, and what is known beside it."""

    component: str
    floor_ms: float
    ms: Range
    evidence: str
    occupancy: Occupancy | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "label": "predicted"}


def attained_on(card: Card) -> tuple[Attained, ...]:
    """What published long prompts of models with full attention reached on one such card, as fractions of peak."""
    return tuple(one for one in _packaged() if one.row.card.name == card.name and one.row.setup.cards == 1)


def published_efficiencies(card: Card) -> dict[str, tuple[Range, str]]:
    """The spread of efficiencies on one such card, for `linear` and `attention`, with what it rests on.

    From long prompts of models with full attention alone, whose two parts are far from nothing.
    """
    rows = attained_on(card)
    if len(rows) < 5:
        raise ValueError(f"too few published measurements on {card.name} to predict from: {len(rows)}")
    spread = {}
    for part, best in (("linear", "gemm_bf16_flops_per_s"), ("attention", "attention_flops_per_s")):
        values = [getattr(one, part) for one in rows]
        low, middle, high = (float(x) for x in np.quantile(values, (0.05, 0.5, 0.95)))
        words = f"{len(rows)} published prefills on this card"
        if best in card.measured:
            high = max(high, card.measured[best].value / card.peak_flops_per_s("bf16"))
            words += f"; best case {card.measured[best].source}"
        spread[part] = Range(low, middle, high), words
    return spread


@functools.cache
def _packaged() -> tuple[Attained, ...]:
    """What the packaged rows reached, where both parts can be told apart and neither is above peak."""
    long = (
        one for one in attained(published()) if one.row.kind in ("at depth", "whole prompt") and not one.row.has_windows
    )
    return tuple(one for one in long if 0 < one.linear <= 1 and 0 < one.attention <= 1)


def predict_prefill(
    model: ModelConfig,
    tokens: int,
    card: Card,
    under: Assumptions,
    bounds: Mapping[str, float],
    reached: Mapping[str, tuple[Range, str]] | None = None,
    waves: Mapping[str, Occupancy] | None = None,
) -> list[Predicted]:
    """Floor and predicted time of each component of one prefill; `bounds` holds e_code by component, `waves` what
    `occupancies` says, which changes no figure.

    `reached` is what `published_efficiencies` says of the card.
    """
    reached = reached or published_efficiencies(card)
    measured = card.measured.get("bandwidth_bytes_per_s")
    bandwidth = measured.value / card.bandwidth_bytes_per_s if measured else 1.0
    work = floors(model, prefill_steps(tokens), card, under)
    made = []
    for component in (*(name for name in COMPONENTS if name in work), *sorted(set(work) - set(COMPONENTS))):
        floor = work[component]
        efficiency, evidence = reached["attention" if component == "attention" else "linear"]
        if bounds.get(component, 1.0) < efficiency.high:
            efficiency = efficiency.below(bounds[component])
            evidence += f"; compiled inner loop: at most {100 * bounds[component]:.0f} % of peak"
        times = (max(floor.compute_ms / e, floor.memory_ms / bandwidth) for e in
                 (efficiency.high, efficiency.middle, efficiency.low))  # fmt: skip
        made.append(Predicted(component, floor.ms, Range(*times), evidence, (waves or {}).get(component)))
    return made


def evidence_lines(predictions: Iterable[Predicted]) -> list[str]:
    """What the predictions rest on, components with the same evidence together."""
    by_evidence: dict[str, list[str]] = {}
    for one in predictions:
        by_evidence.setdefault(one.evidence, []).append(one.component)
    return [f"{', '.join(components)}: {evidence}" for evidence, components in by_evidence.items()]
