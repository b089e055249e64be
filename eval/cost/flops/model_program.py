"""The model's own step as something to count: shapes for weights and tokens, constants for positions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attention.attend import attend
from attention.mixer import Mixer
from refmodel.cache import Cache, init_cache
from refmodel.model import hidden_states, prefill
from refmodel.model import step as model_step
from refmodel.packed.coding import Coding
from refmodel.plan import layer_plan
from refmodel.schedule import Schedule, prefill_steps
from refmodel.specification import ModelConfig
from refmodel.tree import Params, abstract_params

COMPONENT_OF_SCOPE = {
    "attn": "attention_projections", "attention": "attention", "linear_attention": "linear_attention",
    "selection": "selection", "router": "router", "experts": "experts",
    "combine": "combine", "ffn": "feed_forward", "head": "head",
}  # fmt: skip


def component_of(scope: str) -> str:
    """The component that a scope of the model belongs to, by its innermost named part; a strange scope is its own."""
    return next((COMPONENT_OF_SCOPE[part] for part in reversed(scope.split("/")) if part in COMPONENT_OF_SCOPE), scope)


def schedule_program(
    config: ModelConfig, steps: Schedule, *, impl: str = "auto", dtype: Any = jnp.float32, coding: Coding | None = None
) -> tuple[Callable, tuple[Any, ...]]:
    """A function and the shapes of its arguments: `prefill` for a prompt, else one `step` on a filled cache.

    Positions of a filled cache are constants of the function.  No count depends on `dtype`; a CPU compiles float32
    in half the time.  Parameters are packed where there is a `coding`.
    """
    first, last = steps[0], steps[-1]
    config = config.at_length(last.capacity, first.prompt)
    params = abstract_params(config, dtype, coding)
    run_attend = partial(attend, impl=impl)
    if steps == prefill_steps(last.start + last.tokens, first.tokens, last.capacity):
        tokens_bt = jax.ShapeDtypeStruct((1, last.start + last.tokens), jnp.int32)

        def prompt(params: Params, tokens_bt: jax.Array) -> Any:
            return prefill(
                config, params, tokens_bt, capacity_tokens=last.capacity, chunk_tokens=first.tokens, attend=run_attend
            )

        return prompt, (params, tokens_bt)
    if len(steps) > 1:
        raise ValueError("a program is a prompt's prefill from its first token, or one step")
    cache = jax.eval_shape(lambda: init_cache(config, 1, first.capacity, dtype))

    def known(mixer: Mixer, state: Any) -> Any:
        return mixer.after_prompt(first.prompt).with_known(state, first.tokens, first.start, first.capacity)

    def program(params: Params, stacks: Any, tokens_bt: jax.Array) -> Any:
        runs = zip(layer_plan(config).runs, stacks, strict=True)
        length: Any = np.int32(first.start)  # a constant of the program, as an array of JAX would not be
        cache = Cache(tuple(known(run.variant, stack) for run, stack in runs), length)
        run_step: Callable[..., Any] = model_step if first.wants_logits else hidden_states
        return run_step(config, params, cache, tokens_bt, attend=run_attend)

    return program, (params, cache.runs, jax.ShapeDtypeStruct((1, first.tokens), jnp.int32))
