"""The model of decode.

    t = tokens · ( weights · bits / (bandwidth · e_weights)  +  cache / (bandwidth · e_cache)  +  layers · overhead )

Only one model's decode is published in three quantisations: how far another model's overhead and cache may differ
(the scales of "model" and "experts") is assumed, and wide.
"""

from __future__ import annotations

from typing import Final

from eval.cost.efficiency.effects import Effect
from eval.cost.efficiency.model import TimeModel
from eval.cost.efficiency.work import traits, work_of
from eval.cost.published import Measured

LAYER_OVERHEAD_S: Final = 1e-4


def _decode_terms(row: Measured) -> tuple[float, ...]:
    work, bandwidth = work_of(row), row.card.bandwidth_bytes_per_s
    layers = traits(row.model).n_layers
    return (
        work.weight_values * row.bits / 8 / bandwidth,
        2 * work.cache_values / bandwidth,
        LAYER_OVERHEAD_S * layers * row.tokens,
    )


DECODE: Final = TimeModel(
    ("weights", "cache", "overhead"),
    _decode_terms,
    (1.2, 1.5, 1.2),
    {
        "weights": (
            Effect(0.3),
            Effect(0.3, ("backend", "floats")),
            Effect(0.1, ("stack", "floats", "blas")),
            Effect(0.01, ("stack", "floats", "blas", "kernel")),
        ),
        "cache": (
            Effect(1.0),
            Effect(1.0, ("stack",)),
            Effect(0.1, ("stack", "kernel")),
            Effect(0.3, ("model",)),
        ),
        "overhead": (
            Effect(0.3),
            Effect(0.3, ("experts",)),
            Effect(0.3, ("model",)),
            Effect(0.1, ("weights",)),
            Effect(0.03, ("stack", "kernel")),
        ),
    },
    {"ROCm": 0.0, "Vulkan": 0.03},
    {"ROCm": 0.01, "Vulkan": 0.03},
)
