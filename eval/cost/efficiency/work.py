"""What a published row had to do, as seconds at the card's peaks, and the covariates of how well it could be done."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from eval.cost.flops.closed_form import linear_flops, steps_flops
from eval.cost.flops.traffic import steps_bytes
from eval.cost.published import Measured
from refmodel.parts import Experts
from refmodel.presets import preset
from refmodel.schedule import Step
from refmodel.specification import ModelConfig


@dataclass(frozen=True)
class Work:
    """Of all steps of a row.

    Attributes:
        linear_flops: of all matrix products but attention's and the head's.
        attention_flops: of whole tiles of the mask: every query of a micro-batch with every key that its layer keeps.
        useful_attention_flops: of the pairs that a layer's definition asks for.
        weight_values: weights read, each once a step.
        cache_values: keys and values read and written.
        steps: passes over the weights.
    """

    linear_flops: int
    attention_flops: int
    useful_attention_flops: int
    weight_values: int
    cache_values: int
    steps: int


@dataclass(frozen=True)
class Traits:
    """What of a model bears on efficiency.

    Attributes:
        expert_share: part of a step's tokens that one expert gets on average; 1 without experts.
        has_states: whether some layers are recurrent.
    """

    head_dim: int
    n_layers: int
    expert_share: float
    has_states: bool

    @property
    def has_experts(self) -> bool:
        return self.expert_share < 1


def work_of(row: Measured) -> Work:
    """Prompts in micro-batches; of decode, the step halfway, times the tokens."""
    if row.decode:
        return _work(row.model, 1, row.depth + row.tokens // 2, 1, row.tokens)
    return _work(row.model, row.tokens, row.depth, row.micro_batch, 1)


@functools.cache
def traits(model: str) -> Traits:
    config = preset(model)
    head_dim = max(layer.heads.head_dim for layer in config.layers)
    shares = [
        forward.experts_per_token / forward.n_experts
        for layer in config.layers
        if isinstance(forward := layer.feed_forward, Experts)
    ]
    has_states = any(
        one.component == "linear_attention" for layer in config.layers for one in (layer.mixer, *layer.told) if one
    )
    return Traits(head_dim, config.n_layers, min(shares, default=1.0), has_states)


def context_log2(row: Measured) -> float:
    """Octaves of the middle query's context above 8,192 tokens."""
    return math.log2((row.depth + row.tokens / 2) / 8192)


def rows_log2(row: Measured) -> float:
    """Octaves above 512 of the rows that a matrix product of a step has, an expert's where there are experts."""
    return math.log2(row.micro_batch * traits(row.model).expert_share / 512)


@functools.cache
def _work(model: str, tokens: int, depth: int, micro_batch: int, times: int) -> Work:
    config = preset(model)
    steps = tuple(
        Step(min(micro_batch, tokens - start), depth + start, depth + tokens) for start in range(0, tokens, micro_batch)
    )
    flops = steps_flops(config, (Step(tokens, depth),))  # useful ones are the same in one step
    moved = steps_bytes(config, steps)  # two bytes a value
    linear = linear_flops(flops)
    weights = sum(value for name, value in moved.items() if name != "attention")
    attention = _tile_flops(config, steps)
    cache = moved.get("attention", 0)
    return Work(
        times * linear, times * attention, times * flops.get("attention", 0), times * weights // 2, times * cache // 2,
        times * len(steps),
    )  # fmt: skip


def _tile_flops(config: ModelConfig, steps: Sequence[Step]) -> int:
    """4·H·N of every (query, kept key): a kernel that masks computes what it masks out."""
    total = 0
    for layer, layers in config.distinct_layers.items():
        if not layer.mixer or not layer.attends:
            continue
        slots = layer.mixer.cache_tokens(steps[0].capacity)
        pairs = sum(step.tokens * (min(step.start, slots) + step.tokens) for step in steps)
        total += layers * 4 * layer.heads.head_dim * layer.heads.n_heads * pairs
    return total
