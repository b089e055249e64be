"""The model's own step as something to count: shapes for weights and tokens, constants for positions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attention.attend import attend
from eval.flops.steps import Step, step_positions
from eval.flops.traced import TracedFlops, count_flops
from refmodel.cache import Cache, LayerCache, init_cache
from refmodel.config import ModelConfig
from refmodel.model import abstract_params, prefill
from refmodel.model import step as model_step
from refmodel.plan import layer_plan

COMPONENT_OF_SCOPE = {
    "attn": "attention_projections", "attention": "attention", "router": "router", "experts": "experts",
    "combine": "combine", "ffn": "feed_forward", "head": "head",
}  # fmt: skip


def component_of(scope: str) -> str:
    """The component that a scope of the model belongs to, by its innermost named part; a strange scope is its own."""
    return next((COMPONENT_OF_SCOPE[part] for part in reversed(scope.split("/")) if part in COMPONENT_OF_SCOPE), scope)


def traced_step(config: ModelConfig, step: Step, *, impl: str = "auto", dtype: Any = jnp.float32) -> TracedFlops:
    """The traced FLOPs of one step of the real model, by scope."""
    program, args = step_program(config, step, impl=impl, dtype=dtype)
    return count_flops(program, *args)


def step_program(
    config: ModelConfig, step: Step, *, impl: str = "auto", dtype: Any = jnp.float32
) -> tuple[Callable, tuple[Any, ...]]:
    """A function and the shapes of its arguments: `prefill` for a one-shot prompt, else `step` on a filled cache.

    Positions of a filled cache are constants of the function.  No count depends on `dtype`; a CPU compiles float32
    in half the time.
    """
    params = abstract_params(config, dtype)
    tokens_bt = jax.ShapeDtypeStruct((1, step.tokens), jnp.int32)
    options = {"attend": partial(attend, impl=impl)}
    if step.start == 0:
        return (lambda params, tokens: prefill(config, params, tokens, capacity_tokens=step.capacity, **options),
                (params, tokens_bt))  # fmt: skip
    cache = jax.eval_shape(lambda: init_cache(config, 1, step.capacity, dtype))
    positions = [
        _filled(run.variant, stack, step) for run, stack in zip(layer_plan(config).runs, cache.runs, strict=True)
    ]

    def program(params, keys, values, tokens):
        runs = (LayerCache(*stack) for stack in zip(keys, values, positions, strict=True))
        return model_step(config, params, Cache(tuple(runs), np.int32(step.start)), tokens, **options)

    keys = tuple(stack.keys for stack in cache.runs)
    return program, (params, keys, keys, tokens_bt)


def _filled(variant: Any, stack: LayerCache, step: Step) -> np.ndarray:
    """Positions in the slots of a stack of layers before the step."""
    _, seen = step_positions(variant.pattern(), step)
    slots = stack.positions.shape[-1]
    before = np.where(seen[:slots] < step.start, seen[:slots], -1)
    return np.broadcast_to(before, stack.positions.shape).astype(np.int32)
