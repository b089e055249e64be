"""The model of prompts.

    t = linear FLOPs / (peak · e_linear)  +  attention FLOPs / (peak · e_attention)
        +  steps · weights · bits / bandwidth  +  a fixed cost of a server's request, or of each call of a benchmark

Attention FLOPs are those of whole tiles, and a step takes a micro-batch (`eval.cost.efficiency.work`).  A linear
efficiency depends on the rows that a matrix product has, of which an expert gets few, and an attention efficiency on
the length of the context and on the size of heads.  Kernels of recurrent layers got faster by factors from one version
to another: on ROCm each version has an efficiency of its own there.  What the efficiencies of two rows share was
chosen, a half decade at a time, by how well left-out rows are predicted (`eval.cost.efficiency.choose`), for each
backend alone.
"""

from __future__ import annotations

import math
from typing import Final

from eval.cost.efficiency.effects import Effect
from eval.cost.efficiency.model import TimeModel
from eval.cost.efficiency.work import work_of
from eval.cost.published import Measured

TERMS: Final = ("linear", "attention", "weights", "request", "call")
TYPICAL: Final = (6.0, 12.0, 0.5, 1.0, 1.0)
"""Factors to begin with: efficiencies of a sixth and a twelfth; half of the weights' reading is hidden."""
REQUEST_S: Final = 0.1
CALL_S: Final = 2e-3
CALL_TOKENS: Final = 2048
"""llama.cpp's `n_batch`."""


def _prompt_terms(row: Measured) -> tuple[float, ...]:
    work, card = work_of(row), row.card
    peak = card.peak_flops_per_s("f16")
    weights_s = work.weight_values * row.bits / 8 / card.bandwidth_bytes_per_s
    calls_s = CALL_S * math.ceil(row.tokens / CALL_TOKENS)
    fixed_s = (REQUEST_S, 0.0) if row.server else (0.0, calls_s)
    return work.linear_flops / peak, work.attention_flops / peak, weights_s, *fixed_s


ROCM: Final = TimeModel(
    TERMS,
    _prompt_terms,
    TYPICAL,
    {
        "linear": (
            Effect(1.0),
            Effect(1.0, ("experts",)),
            Effect(0.3, ("weights",)),
            Effect(1.0, ("floats", "blas")),
            Effect(0.3, ("stack", "blas")),
            Effect(0.3, ("stack", "blas", "weights")),
            Effect(0.1, ("build", "stack", "blas", "weights")),
            Effect(0.3, ("states",)),
            Effect(0.1, ("experts",), "rows_log2"),
            Effect(0.03, ("stack", "blas", "experts"), "micro_batch_log2"),
            Effect(0.1, ("stack", "blas", "weights"), "micro_batch_log2"),
        ),
        "attention": (
            Effect(1.0),
            Effect(0.3, ("stack",)),
            Effect(0.1, ("head_dim", "stack", "kernel")),
            Effect(0.03, ("build", "stack", "kernel", "model")),
            Effect(0.1, ("model",)),
            Effect(0.1, (), "context_log2"),
        ),
        "request": (Effect(1.0),),
        "call": (Effect(1.0),),
    },
    {"ROCm": 0.0},
    {"ROCm": 0.007},
)
VULKAN: Final = TimeModel(
    TERMS,
    _prompt_terms,
    TYPICAL,
    {
        "linear": (
            Effect(1.0),
            Effect(1.0, ("experts",)),
            Effect(0.3, ("model",)),
            Effect(0.3, ("weights",)),
            Effect(1.0, ("floats",)),
            Effect(0.3, ("stack",)),
            Effect(0.3, ("stack", "weights")),
            Effect(0.03, ("build", "stack")),
            Effect(0.1, ("engine", "weights")),
            Effect(0.03, ("experts",), "rows_log2"),
        ),
        "attention": (
            Effect(1.0),
            Effect(1.0, ("stack",)),
            Effect(0.3, ("head_dim",)),
            Effect(0.1, ("build", "stack")),
            Effect(0.1, (), "context_log2"),
            Effect(0.1, (), "micro_batch_log2"),
        ),
        "request": (Effect(1.0),),
        "call": (Effect(1.0),),
    },
    {"Vulkan": 0.07},
    {"Vulkan": 0.03},
)
