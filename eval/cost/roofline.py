"""The least time that a card can need: per component the larger of compute and memory time.

    ms = 1e3 · max( FLOPs / (peak · efficiency),  bytes / bandwidth )

With efficiency 1 that is a floor; measured efficiencies make it a prediction.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field
from typing import Final

from attention.pattern import UNBOUNDED
from eval.cost.cards import Card
from eval.cost.crossover import first_true
from eval.cost.flops.closed_form import Count, steps_flops
from eval.cost.flops.traffic import Storage, bits, kv_cache_bytes, steps_bytes, weight_bytes
from refmodel.schedule import Step, decode_steps, prefill_steps
from refmodel.specification import ModelConfig

Model = ModelConfig


@dataclass(frozen=True)
class Assumptions:
    """What a time is computed under.

    Attributes:
        storage: formats of weights and cache in memory.
        dtype: of the matrix products; quantised weights are expanded to it.
        linear_efficiency, attention_efficiency: fraction of peak that the two parts reach; 1 is the floor.
        bandwidth_efficiency: fraction of the memory bandwidth.
        count: which FLOPs.
    """

    storage: Storage = field(default_factory=Storage)
    dtype: str = "bf16"
    linear_efficiency: float = 1.0
    attention_efficiency: float = 1.0
    bandwidth_efficiency: float = 1.0
    count: Count = "useful"

    def __post_init__(self) -> None:
        for name in ("linear_efficiency", "attention_efficiency", "bandwidth_efficiency"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")


FLOOR: Final = Assumptions()


@dataclass(frozen=True)
class Floor:
    """One component: its work, the two times, and `ms`, the sum over steps of the larger one."""

    flops: int = 0
    moved_bytes: int = 0
    compute_ms: float = 0.0
    memory_ms: float = 0.0
    ms: float = 0.0

    def plus(self, other: Floor) -> Floor:
        return Floor(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


def floors(model: Model, steps: tuple[Step, ...], card: Card, under: Assumptions = FLOOR) -> dict[str, Floor]:
    """A `Floor` per component of `steps`, which run one after the other."""
    peak, bandwidth = card.peak_flops_per_s(under.dtype), card.bandwidth_bytes_per_s * under.bandwidth_efficiency
    total: dict[str, Floor] = {}
    for step in steps:
        moved = steps_bytes(model, (step,), under.storage)
        counted = steps_flops(model, (step,), count=under.count)
        for name in dict.fromkeys((*counted, *moved)):  # also what only moves bytes
            flops = counted.get(name, 0)
            efficiency = under.attention_efficiency if name in ("attention", "selection") else under.linear_efficiency
            compute_ms, memory_ms = 1e3 * flops / (peak * efficiency), 1e3 * moved.get(name, 0) / bandwidth
            one = Floor(flops, moved.get(name, 0), compute_ms, memory_ms, max(compute_ms, memory_ms))
            total[name] = total.get(name, Floor()).plus(one)
    return total


def floor_ms(
    model: Model, tokens: int, card: Card, under: Assumptions = FLOOR, *, chunk_tokens: int | None = None
) -> dict[str, float]:
    """Milliseconds per component of one prefill of `tokens`."""
    return {name: floor.ms for name, floor in floors(model, prefill_steps(tokens, chunk_tokens), card, under).items()}


def gemm_crossover_columns(card: Card, weights: str = "bf16", dtype: str = "bf16") -> int:
    """Tokens per weight matrix from which compute binds a prefill GEMM: peak · bytes per weight / (2 · bandwidth).

    An expert sees k/E of a prompt's tokens, so that a prompt needs E/k times as many.
    """
    return math.ceil(card.peak_flops_per_s(dtype) * float(bits(weights)) / 8 / (2 * card.bandwidth_bytes_per_s))


def decode_crossover_tokens(model: Model, storage: Storage = Storage()) -> int | None:
    """The context from which a decode step reads more cache than weights; None if a bounded cache never gets there."""

    def overtakes(context: int) -> bool:
        moved = steps_bytes(model, decode_steps(context), storage)
        return moved.pop("attention", 0) > sum(moved.values())

    slots = [layer.variant.cache_tokens(UNBOUNDED) for layer in model.layers if layer.mixer]
    longest = max(slots, default=0) + 1
    if longest <= UNBOUNDED and not overtakes(longest):
        return None
    return first_true(overtakes)


def longest_fit_tokens(model: Model, card: Card, storage: Storage = Storage()) -> int | None:
    """The longest context whose weights and cache fit the card's memory; 0 if the weights do not, None if any does.

    Temporaries are not counted.
    """
    room = card.memory_bytes - weight_bytes(model, storage.weights)
    if room < kv_cache_bytes(model, 1, storage.kv):
        return 0
    if kv_cache_bytes(model, UNBOUNDED, storage.kv) <= room:
        return None
    return first_true(lambda tokens: kv_cache_bytes(model, tokens, storage.kv) > room) - 1
