"""The least time that a card can need: per component the larger of compute and memory time.

    ms = 1e3 · max( FLOPs / (peak · efficiency),  bytes / bandwidth )

The peak is that of both operands: weights of few bits that are expanded before they are multiplied move fewer bytes,
and run at the rate of bf16.  With efficiency 1 that is a floor; measured efficiencies make it a prediction.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import Final

from attention.pattern import UNBOUNDED
from eval.cost.cards import Card
from eval.cost.flops.bits import as_bytes, bits
from eval.cost.flops.closed_form import Count, steps_flops
from eval.cost.flops.formats import Storage, weight_bytes
from eval.cost.flops.traffic import kv_cache_bytes, steps_bytes
from eval.cost.sawtooth import first_above
from eval.cost.sign_changes import LONGEST_TOKENS
from refmodel.schedule import Step, decode_steps, prefill_steps
from refmodel.specification import ModelConfig

Model = ModelConfig


@dataclass(frozen=True)
class Assumptions:
    """What a time is computed under.

    Attributes:
        storage: formats of weights and cache in memory.
        products: dtype of both operands of the linear layers and the head; weights of fewer bits are expanded to it.
        attention_dtype: the same of attention and of what chooses its pairs.
        linear_efficiency, attention_efficiency: fraction of peak that the two parts reach; 1 is the floor.
        bandwidth_efficiency: fraction of the memory bandwidth.
        count: which FLOPs.
    """

    storage: Storage = field(default_factory=Storage)
    products: str = "bf16"
    attention_dtype: str = "bf16"
    linear_efficiency: float = 1.0
    attention_efficiency: float = 1.0
    bandwidth_efficiency: float = 1.0
    count: Count = "useful"

    def __post_init__(self) -> None:
        for name in ("linear_efficiency", "attention_efficiency", "bandwidth_efficiency"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")


FLOOR: Final = Assumptions()
ATTENDING: Final = ("attention", "selection")
"""Components of attention's rate and efficiency; all others, those of a recurrent state too, have the products'."""


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
    linear = card.peak_flops_per_s(under.products) * under.linear_efficiency
    attention = card.peak_flops_per_s(under.attention_dtype) * under.attention_efficiency
    bandwidth = card.bandwidth_bytes_per_s * under.bandwidth_efficiency
    total: dict[str, Floor] = {}
    for step in steps:
        moved = steps_bytes(model, (step,), under.storage)
        counted = steps_flops(model, (step,), count=under.count)
        for name in dict.fromkeys((*counted, *moved)):  # also what only moves bytes
            flops = counted.get(name, 0)
            rate = attention if name in ATTENDING else linear
            compute_ms, memory_ms = 1e3 * flops / rate, 1e3 * moved.get(name, 0) / bandwidth
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
    """The first context of which a decode step reads more cache than weights; None if a bounded cache never gets there.

    Where keys go at each event, a longer context may read less again.

    Raises `ValueError` where evictions' chunks end together too seldom to look at all that the caches can hold.
    """

    def beyond_weights(context: int) -> int:
        moved = steps_bytes(model, decode_steps(context), storage)
        return moved.pop("attention", 0) - sum(moved.values())

    def fall(low: int, high: int) -> int:
        values = sum(one.kv_values * one.mixer.held_fall(low, high) for one in model.layers if one.mixer)
        return as_bytes(values, storage.kv) + 1 if values else 0  # bytes are rounded up

    limits = [_most_slots(model, length) for length in (UNBOUNDED // 2, UNBOUNDED)]
    if limits[0] < limits[1]:
        return _first_above(beyond_weights, fall, 0)
    period = math.lcm(*(one.mixer.held_period_tokens for one in model.layers if one.mixer))
    last = limits[0] + min(period, LONGEST_TOKENS)
    context = first_above(beyond_weights, fall, 0, 1, last)
    if context is None and period > LONGEST_TOKENS and beyond_weights(last) + fall(1, last) > 0:
        raise ValueError(
            f"{model.name}: the context whose cache outweighs the weights is looked for up to {last:,} tokens, and "
            f"chunks of these evictions end together every {period:,}; give them chunks that divide each other"
        )
    return context


def _first_above(total: Callable[[int], int], fall: Callable[[int, int], int], limit: int) -> int:
    """Of all lengths; there is one."""
    starts = (2**power for power in itertools.count())
    return next(n for start in starts if (n := first_above(total, fall, limit, start, 2 * start - 1)))


def _most_slots(model: Model, length: int) -> int:
    """Of any layer, for a sequence of so many tokens."""
    slots = [one.variant.cache_tokens(length) for one in model.at_length(length).layers if one.mixer]
    return max(slots, default=0)


def longest_fit_tokens(model: Model, card: Card, storage: Storage = Storage()) -> int | None:
    """The longest context whose weights and cache, and those of all shorter ones, fit the card's memory.

    0 if the weights do not, None if any does.
    Temporaries are not counted.
    """
    room = card.memory_bytes - weight_bytes(model, storage.weights)
    if room < kv_cache_bytes(model, 1, storage.kv):
        return 0
    if kv_cache_bytes(model, UNBOUNDED, storage.kv) <= room:
        return None

    def fall(low: int, high: int) -> int:
        values = sum(one.kv_values * one.mixer.cache_fall(low, high) for one in model.layers if one.mixer)
        return as_bytes(values, storage.kv) + 1 if values else 0  # bytes are rounded up

    return _first_above(lambda tokens: kv_cache_bytes(model, tokens, storage.kv), fall, room) - 1
