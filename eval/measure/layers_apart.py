"""A prefill's time from its distinct layers, each timed once: for cards that do not hold the whole model.

    time = ends + sum over distinct layers of count · (time of a model of that layer alone - ends)

`ends` is the model without any layer: embedding, final norm, head on the last token.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from functools import partial
from typing import Any

import jax

from attention.attended import AttendFn
from attention.variant import Variant
from eval.measure.records.schema import Findings, LayerTime
from eval.measure.timing import Budget, Timing, compile_program, time_programs
from refmodel.config import BlockKind, ModelConfig
from refmodel.layers import rms_norm
from refmodel.model import Params, prefill, unembed
from refmodel.weights.random import random_params, variant_params


def one_layer(config: ModelConfig, kind: BlockKind, variant: Variant) -> ModelConfig:
    """The model with a single layer, of `kind` and with `variant`."""
    dense_layers = (0,) if kind == "dense" else ()
    return dataclasses.replace(
        config, n_layers=1, layout=(variant,), mlp_only_layers=dense_layers, decoder_sparse_step=1
    )


def random_layers(config: ModelConfig, seed: int, dtype: Any) -> Params:
    """Random parameters of one layer of each kind, and of what is outside the layers."""
    params: Params = {}
    for kind, variant in dict(zip(config.block_kinds, config.layout, strict=True)).items():
        found = random_params(one_layer(config, kind, variant), seed, dtype)
        params = {**found, "blocks": {**params.get("blocks", {}), **found["blocks"]}}
    return params


def measure(config: ModelConfig, params: Params, tokens_bt: jax.Array, attend: AttendFn, budget: Budget) -> Findings:
    """`timing`, whose one sample is the sum of medians, and `layers`: count and milliseconds of each distinct layer."""

    def ends(params: Params, tokens_bt: jax.Array) -> jax.Array:
        last_bd = params["embed"]["embedding"][tokens_bt][:, -1]
        return unembed(config, params, rms_norm(last_bd, params["final_norm"]["scale"], config.norm_eps))

    counts = Counter(zip(config.block_kinds, config.layout, strict=True))
    programs = {"ends": compile_program(ends, params, tokens_bt)}
    for kind, variant in counts:
        one = one_layer(config, kind, variant)
        own = variant_params(one, {**params, "blocks": {kind: params["blocks"][kind]}}, 0)
        programs[f"{kind} {variant}"] = compile_program(partial(prefill, one, attend=attend), own, tokens_bt)
    timings = time_programs(programs, budget)
    ends_ms = timings["ends"].median_ms
    layers = tuple(
        LayerTime(layer := f"{kind} {variant}", count, timings[layer].median_ms - ends_ms)
        for (kind, variant), count in counts.items()
    )
    total_ms = ends_ms + sum(layer.count * layer.ms for layer in layers)
    compile_ms = sum(timing.compile_ms or 0.0 for timing in timings.values())
    return Findings(timing=Timing((total_ms,), compile_ms=compile_ms), layers=layers, parts=timings, ends_ms=ends_ms)
