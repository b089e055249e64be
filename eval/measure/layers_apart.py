"""A prefill's time from its distinct layers, each timed once: for cards that do not hold the whole model.

    time = ends + sum over distinct layers of count · max(0, time of a model of that layer alone - ends)

`ends` is the model without any layer: embedding, final norm, head on the last token.  A layer takes no less than
nothing: where the noise of the two medians exceeds what a layer takes, 0 is the nearest time that can be.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import jax

from attention.attended import AttendFn
from eval.measure.finite import refuse_no_numbers
from eval.measure.records.schema import Findings, LayerTime
from eval.measure.timing import Budget, Timing, compile_program, time_programs
from refmodel.model import embed, prefill, unembed
from refmodel.norm import rms_norm
from refmodel.packed.coding import Coding
from refmodel.packed.packed import Packed
from refmodel.specification import ModelConfig
from refmodel.tree import Params, leaves_by_path
from refmodel.weights.random import random_params, variant_params


def random_layers(config: ModelConfig, seed: int, dtype: Any, coding: Coding | None = None) -> Params:
    """Random parameters of one layer of each kind, and of what is outside the layers."""
    params: Params = random_params(config.one_of_each_stack, seed, dtype, coding)
    return params


def measure(config: ModelConfig, params: Params, tokens_bt: jax.Array, attend: AttendFn, budget: Budget) -> Findings:
    """`timing`, whose one sample is the sum of medians, and `layers`: count and milliseconds of each distinct layer.

    Raises `FloatingPointError` where one of them ends in logits that are NaN or Inf.
    """

    def ends(params: Params, tokens_bt: jax.Array) -> tuple[jax.Array]:
        last_bd = embed(config, params, tokens_bt)[:, -1]
        return (unembed(config, params, rms_norm(last_bd, params["final_norm"]["scale"], config.final_norm)),)

    dtype = params["embed"]["embedding"].dtype
    coding = next((leaf.coding for leaf in leaves_by_path(params).values() if isinstance(leaf, Packed)), None)
    counts = Counter(zip(config.stacks, config.layout, strict=True))
    programs = {"ends": compile_program(ends, params, tokens_bt, check=refuse_no_numbers)}
    for kind, variant in counts:
        one = config.one_layer(variant, kind)
        stack = params["blocks"].get(kind) or random_params(one, 0, dtype, coding)["blocks"][kind]
        own = variant_params(one, {**params, "blocks": {kind: stack}}, 0)
        layer = partial(prefill, one, attend=attend)
        programs[f"{kind} {variant}"] = compile_program(layer, own, tokens_bt, check=refuse_no_numbers)
    timings = time_programs(programs, budget)
    ends_ms = timings["ends"].median_ms
    layers = tuple(
        LayerTime(name := f"{kind} {variant}", count, max(0.0, timings[name].median_ms - ends_ms))
        for (kind, variant), count in counts.items()
    )
    total_ms = ends_ms + sum(one.count * one.ms for one in layers)
    compile_ms = sum(timing.compile_ms or 0.0 for timing in timings.values())
    return Findings(timing=Timing((total_ms,), compile_ms=compile_ms), layers=layers, parts=timings, ends_ms=ends_ms)
