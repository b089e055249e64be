"""Bytes that a step has to move: weights and the KV cache, each read or written once.

A lower bound, as floors are: activations stay in fast memory, and attention reads each key once for all its queries.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from attention.cost import Depth
from refmodel.layer_spec import LayerSpec
from refmodel.schedule import Step
from refmodel.specification import ModelConfig

BITS: Final[Mapping[str, Fraction]] = MappingProxyType(
    {"f32": Fraction(32), "bf16": Fraction(16), "8bit": Fraction(8), "4.5bit": Fraction(9, 2), "4bit": Fraction(4)}
)
"""Bits of a stored value; 4.5 is a 4-bit block format with its scales (Q4_0, Q4_K)."""


def bits(name: str) -> Fraction:
    """Bits of a named format, or a `ValueError` that lists them."""
    if name not in BITS:
        raise ValueError(f"no storage format {name!r}; accepted: {', '.join(BITS)}")
    return BITS[name]


@dataclass(frozen=True)
class Storage:
    """How weights and cache are stored, by the names of `BITS`."""

    weights: str = "bf16"
    kv: str = "bf16"

    def __post_init__(self) -> None:
        for name in (self.weights, self.kv):
            bits(name)


def weight_bytes(model: ModelConfig, weights: str = "bf16") -> int:
    """All stored parameters in the given format."""
    return as_bytes(model.params, weights)


def as_bytes(values: int, name: str) -> int:
    """Whole bytes of so many values in a named format."""
    return math.ceil(values * bits(name) / 8)


def kv_cache_bytes(model: ModelConfig, capacity_tokens: int, kv: str = "bf16") -> int:
    """The cache of every layer for sequences of up to `capacity_tokens`, as small as the patterns allow.

    Recurrent states are float32, whatever keys and values are.
    """
    slots = sum(_slots(layer, capacity_tokens) * layer.kv_values for layer in model.layers)
    return as_bytes(slots, kv) + as_bytes(sum(map(_recurrent_values, model.layers)), "f32")


def _slots(layer: LayerSpec, capacity_tokens: int) -> int:
    return layer.variant.at_length(capacity_tokens).cache_tokens(capacity_tokens) if layer.mixer else 0


def _recurrent_values(layer: LayerSpec) -> int:
    return layer.mixer.state_values(layer.heads) if layer.mixer else 0


def kv_bytes_per_token(model: ModelConfig, kv: str = "bf16") -> int:
    """What one token adds to the caches of all layers."""
    return as_bytes(sum(layer.kv_values for layer in model.layers if not _recurrent_values(layer)), kv)


def steps_bytes(model: ModelConfig, steps: Iterable[Step], storage: Storage = Storage()) -> dict[str, int]:
    """Bytes per component over `steps`: weights of the products and of routers of spans ("selection"), cache read and
    written under "attention", recurrent states under their mixer's component, the head.

    Experts: at most min(E, rows) of them are in use in a step; each is read once.
    """
    total: dict[str, int] = defaultdict(int)
    alike = Counter(model.layers_at_depth)
    states: dict[str, int] = defaultdict(int)
    for step in steps:
        for (layer, depth), layers in alike.items():
            for product in layer.products:
                in_use = min(product.copies, step.tokens * product.rows_per_token)
                total[product.component] += layers * product.macs * in_use
            total["attention"] += layers * _kv_values(layer, step, depth)
            total["selection"] += layers * layer.mixer_params
            if layer.mixer:
                states[layer.mixer.component] += layers * 2 * _recurrent_values(layer)
        total["head"] += model.head_macs
    formats = {"attention": storage.kv}
    moved = {name: as_bytes(v, formats.get(name, storage.weights)) for name, v in total.items()}
    for name, values in states.items():
        moved[name] = moved.get(name, 0) + as_bytes(values, "f32")
    return {name: moved_bytes for name, moved_bytes in moved.items() if moved_bytes}


def _kv_values(layer: LayerSpec, step: Step, depth: Depth) -> int:
    """Values of keys that some query of the step sees, plus the step's own, written; none of a recurrent state."""
    if not layer.mixer or _recurrent_values(layer):
        return 0
    mixer = layer.mixer.at_length(step.capacity).after_prompt(step.prompt)
    seen = mixer.held_tokens(step.start, step.capacity, depth) + step.tokens
    return layer.kv_values * (seen + step.tokens)
