"""The model of the post that started this project: its own arithmetic, and no more than that is known."""

from __future__ import annotations

from typing import Final

from attention.cost import Heads
from attention.full import Full
from refmodel.layer_spec import LayerSpec
from refmodel.parameters import Parameter
from refmodel.parts import Dense
from refmodel.specification import ModelConfig


def _post() -> ModelConfig:
    """64 layers with N·H = 4096 and 3.3e9 active parameters, spread evenly: 524,288·N² of attention."""
    n_layers, active = 64, 3_300_000_000
    told = (Parameter("active", ("all",), (active // n_layers,), ("all",), "active_parameters"),)
    layer = LayerSpec(Full(), Heads(32, 32, 128, 4096), Dense(0), told=told)
    return ModelConfig(
        "post-35b-a3b", (layer,) * n_layers, 4096, 151_936, headline_params=active,
        cannot_run="no more than its sizes is known",
        note="the post's own arithmetic, whose cache is not known; not the shipped 35B-A3B, which is qwen3.5-35b-a3b",
    )  # fmt: skip


PRESETS: Final = (_post(),)
