"""Nemotron-3-Nano, counted and not run: a layer is Mamba-2, a mixture of experts or attention, and only one of them."""

from __future__ import annotations

from typing import Final

from attention.cost import Heads
from attention.full import Full
from refmodel.layer_spec import LayerSpec
from refmodel.parameters import Parameter, attention_rows, vectors
from refmodel.parts import Dense, Experts
from refmodel.specification import ModelConfig

_PATTERN: Final = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
"""`hybrid_override_pattern` of its config.json: 23 Mamba-2 layers, 23 of experts, 6 of attention."""


def _mamba(d: int) -> LayerSpec:
    """A Mamba-2 layer of 64 heads of 64 with a state of 128 in 8 groups (Dao and Gu, 2405.21060).

    The recurrence in its sequential form: decay, write and read of the state, three products of its size a token.
    """
    heads, h, groups, state, taps = 64, 64, 8, 128, 4
    inner, channels = heads * h, heads * h + 2 * groups * state
    told = (
        Parameter("mixer.in", ("in", "out"), (d, inner + channels + heads), ("in",), "attention_projections"),
        Parameter("mixer.out", ("in", "out"), (inner, d), ("in",), "attention_projections"),
        Parameter("mixer.conv", ("taps", "channels"), (taps, channels), ("taps",), "linear_attention"),
        Parameter(
            "mixer.state", ("terms", "heads", "head_dim", "state"), (3, heads, h, state), ("state",),
            "linear_attention", copies=0,
        ),
        vectors("vectors", d + inner + channels + 3 * heads),
    )  # fmt: skip
    return LayerSpec(None, Heads(0, 0, 0, d), Dense(0), told=told)


def _experts(d: int, experts: Experts) -> LayerSpec:
    """Squared ReLU: two matrices an expert; the shared one is twice as wide."""
    e, f = experts.n_experts, experts.d_expert
    told = (
        Parameter("ffn.router", ("embed", "experts"), (d, e), ("embed",), "router"),
        Parameter(
            "ffn.experts", ("experts", "embed", "mlp"), (e, d, 2 * f), ("embed",), "experts",
            rows_per_token=experts.experts_per_token, copies=e,
        ),
        Parameter("ffn.shared", ("embed", "mlp"), (d, 4 * f), ("embed",), "feed_forward"),
        vectors("vectors", d + e),
    )  # fmt: skip
    return LayerSpec(None, Heads(0, 0, 0, d), experts, told=told)


def _attention(d: int) -> LayerSpec:
    heads = Heads(32, 2, 128, d)
    return LayerSpec(Full(), heads, Dense(0), told=(*attention_rows(heads), vectors("vectors", d)))


def _nano() -> ModelConfig:
    d = 2688
    kinds = {"M": _mamba(d), "E": _experts(d, Experts(128, 6, 1856)), "*": _attention(d)}
    return ModelConfig(
        "nemotron-3-nano-30b-a3b", tuple(kinds[kind] for kind in _PATTERN), d, 131_072,
        headline_params=3_200_000_000, cannot_run="Mamba-2 layers are not computed",
        note="Mamba-2 state counted in its sequential form, and not in the cache",
    )  # fmt: skip


PRESETS: Final = (_nano(),)
