"""gpt-oss, counted and not run: windows of 128 in every other layer, learned sinks, biases."""

from __future__ import annotations

from typing import Final

from attention.cost import Heads
from attention.full import Full
from attention.sliding_window import SlidingWindow
from refmodel.layer_spec import LayerSpec
from refmodel.parameters import attention_rows, expert_rows, vectors
from refmodel.parts import Experts
from refmodel.specification import ModelConfig


def _gpt_oss_20b() -> ModelConfig:
    d, n, k, h, n_experts = 2880, 64, 8, 64, 32
    heads, experts = Heads(n, k, h, d), Experts(n_experts, 4, d)
    biases = h * (n + 2 * k) + d + n_experts + n_experts * 3 * d
    told = (
        *attention_rows(heads),
        *expert_rows(d, experts),
        vectors("norms", 2 * d),
        vectors("sinks", n),  # learned: an extra softmax column each, no pair
        vectors("biases", biases),
    )
    local, world = (LayerSpec(mixer, heads, experts, told=told) for mixer in (SlidingWindow(128), Full()))
    return ModelConfig(
        "gpt-oss-20b", (local, world) * 12, d, 201_088, headline_params=3_600_000_000,
        cannot_run="learned sinks and biases are not computed",
    )  # fmt: skip


PRESETS: Final = (_gpt_oss_20b(),)
