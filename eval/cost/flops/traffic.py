"""Bytes that a step has to move: weights and the KV cache, each read or written once.

A lower bound, as floors are: activations stay in fast memory, and attention reads each key once for all its queries.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from attention.cost import Depth
from eval.cost.flops.bits import as_bytes, bits
from eval.cost.flops.formats import Storage, copy_bits
from refmodel.layer_spec import LayerSpec
from refmodel.schedule import Step
from refmodel.specification import ModelConfig


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
    steps = tuple(steps)
    alike = Counter(model.layers_at_depth)
    (head,) = (row for row in model.outside if row.component == "head")
    moved: dict[str, Fraction] = defaultdict(Fraction)
    moved["head"] += len(steps) * copy_bits(head, storage.weights)
    for layer, layers in model.distinct_layers.items():
        stored = _WeightBits.of(layer, storage.weights)
        moved["selection"] += len(steps) * layers * stored.mixer
        for product, copy in zip(layer.products, stored.products, strict=True):
            in_use = sum(min(product.copies, step.tokens * product.rows_per_token) for step in steps)
            moved[product.component] += layers * in_use * copy
    kv_values = sum(
        layers * _kv_values(layer, step, depth) for (layer, depth), layers in alike.items() for step in steps
    )
    moved["attention"] += kv_values * bits(storage.kv)
    whole = {name: math.ceil(n_bits / 8) for name, n_bits in moved.items()}
    for layer, layers in model.distinct_layers.items():
        if layer.mixer:
            name, values = layer.mixer.component, len(steps) * layers * 2 * _recurrent_values(layer)
            whole[name] = whole.get(name, 0) + as_bytes(values, "f32")
    return {name: moved_bytes for name, moved_bytes in whole.items() if moved_bytes}


class _WeightBits(NamedTuple):
    """Of a layer: one copy of each of its products, and all that the mixer has of its own."""

    products: tuple[Fraction, ...]
    mixer: Fraction

    @classmethod
    def of(cls, layer: LayerSpec, weights: str) -> _WeightBits:
        own = (copy_bits(row, weights) for row in layer.parameters if row.of_mixer)
        return cls(tuple(copy_bits(product, weights) for product in layer.products), sum(own, Fraction(0)))


def _kv_values(layer: LayerSpec, step: Step, depth: Depth) -> int:
    """Values of keys that some query of the step may read, all of an index's, and the step's own, written; none of a
    recurrent state."""
    if not layer.mixer or _recurrent_values(layer):
        return 0
    mixer = layer.mixer.after_prompt(step.prompt).at_length(step.capacity)
    seen = mixer.held_tokens(step.start, step.capacity, depth) + step.tokens
    beside = mixer.token_values(layer.heads)
    read = mixer.read_tokens(seen, step.tokens)
    return (layer.kv_values - beside) * (read + step.tokens) + beside * (seen + step.tokens)
