"""Laguna-XS.2, counted and not run: more query heads in the windowed layers, a gate a head, one shared expert."""

from __future__ import annotations

from typing import Final

from attention.cost import Heads
from attention.full import Full
from attention.sliding_window import SlidingWindow
from refmodel.layer_spec import LayerSpec
from refmodel.parameters import Parameter, attention_rows, feed_forward_rows, vectors
from refmodel.parts import Dense, Experts, FeedForward
from refmodel.specification import ModelConfig


def _layer(sees_all: bool, feed_forward: FeedForward) -> LayerSpec:
    d, n, k, h = 2048, 48 if sees_all else 64, 8, 128
    heads = Heads(n, k, h, d)
    gate = Parameter("attn.gate", ("embed", "heads"), (d, n), ("embed",), "attention_projections")
    beside: tuple[Parameter, ...] = ()
    if isinstance(feed_forward, Experts):
        shared = Parameter("ffn.shared", ("embed", "mlp"), (d, 3 * feed_forward.d_expert), ("embed",), "feed_forward")
        beside = shared, vectors("ffn.bias", feed_forward.n_experts)
    told = (*attention_rows(heads), gate, *feed_forward_rows(d, feed_forward), *beside, vectors("norms", 2 * (d + h)))
    return LayerSpec(Full() if sees_all else SlidingWindow(512), heads, feed_forward, told=told)


def _xs() -> ModelConfig:
    experts = Experts(256, 8, 512)
    cycle = (_layer(True, experts), *3 * (_layer(False, experts),))
    layers = (_layer(True, Dense(8192)), *(10 * cycle)[1:])
    return ModelConfig(
        "laguna-xs.2", layers, 2048, 100_352, headline_params=3_000_000_000,
        cannot_run="gates of heads are not computed",
    )  # fmt: skip


PRESETS: Final = (_xs(),)
