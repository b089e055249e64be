"""One layer's attention as a program to be timed: what runs between its projections, selection and packing included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from attention.attend import attend
from attention.attended import Attended, AttendFn, concatenated
from attention.mixer import Mixer
from refmodel.attend_layer import LayerIndex, Projected, StepInput, attend_layer
from refmodel.cache import init_cache
from refmodel.specification import ModelConfig

Layer = Callable[[Projected, dict[str, jax.Array]], Attended]


def layer_kernel(
    config: ModelConfig,
    variant: Mixer,
    tokens: int,
    dtype: Any,
    *,
    attend: AttendFn = attend,
    seed: int = 0,
    batch: int = 1,
    steps: Sequence[int] = (),
    inputs: Projected | None = None,
) -> tuple[Layer, tuple[Projected, dict[str, jax.Array]]]:
    """A function and its arguments: the attention of one layer of `config` with `variant`, and what ran for it.

    Random inputs of unit variance, a prompt of `tokens` from an empty cache, as `refmodel.layers.Attention` runs it: in
    one step, or in `steps` of so many tokens each.  `inputs` of another variant of the same model and length are used
    instead of drawn where they have the same shapes: at long prompts they are gigabytes.  `attend` is
    `attention.attend.attend` or a function with its signature.
    """
    one = config.one_layer(variant).at_length(tokens)
    (spec,), (variant,) = one.layers, one.layout
    shapes = [(batch, tokens, *shape) for shape in variant.operands(one.heads)]
    keys = jax.random.split(jax.random.key(seed), len(shapes) + 1)
    if inputs is None or [x.shape for x in inputs] != shapes:
        inputs = Projected(*(jax.random.normal(key, shape, dtype) for key, shape in zip(keys, shapes, strict=False)))
    params = {
        name: jax.random.normal(jax.random.fold_in(keys[-1], i), shape, dtype) * shape[0] ** -0.5
        for i, (name, shape) in enumerate(spec.attention_params.items())
    }
    zero = jnp.int32(0)

    def kernel(inputs: Projected, params: dict[str, jax.Array]) -> Attended:
        (stack,) = init_cache(one, batch, tokens, dtype).runs
        parts, start = [], 0
        for size in steps or (tokens,):
            first, end = start == 0, start + size
            position_bt = jnp.arange(start, end, dtype=jnp.int32)[None]
            step = StepInput(position_bt, (zero, zero), jnp.int32(start), attend, first=first, in_order=first)
            part = Projected(*(x[:, start:end] for x in inputs))
            attended, stack = attend_layer(spec, variant, part, params, step, stack, LayerIndex(zero, zero, zero))
            parts.append(attended)
            start = end
        return concatenated(parts)

    return kernel, (inputs, params)


def chained(kernel: Layer, calls: int) -> Callable[[Projected, dict[str, jax.Array]], jax.Array]:
    """`calls` runs of a `layer_kernel` in one program, each one's output the next one's queries: its output alone.

    A single call on a GPU takes longer to be sent off than a short prompt's attention runs.  The barrier keeps what
    does not read the queries (routers, packing) inside the loop.  Of two calls in a turn the second may write where the
    first one's queries were; with one, XLA copies every output back there.  An output of another shape than the queries
    is waited for all the same.
    """

    def chain(inputs: Projected, params: dict[str, jax.Array]) -> jax.Array:
        def again(q_btnh: jax.Array, _: None) -> tuple[jax.Array, None]:
            return kernel(*lax.optimization_barrier((inputs._replace(q_btnh=q_btnh), params))).out_btnh, None

        def after(out_btmh: jax.Array, _: None) -> tuple[jax.Array, None]:
            waiting, _ = lax.optimization_barrier(((inputs, params), out_btmh))
            return kernel(*waiting).out_btnh, None

        if calls == 1:
            return kernel(inputs, params).out_btnh
        out = jax.eval_shape(kernel, inputs, params).out_btnh
        if (out.shape, out.dtype) == (inputs.q_btnh.shape, inputs.q_btnh.dtype):
            return lax.scan(again, inputs.q_btnh, length=calls, unroll=2)[0]
        return lax.scan(after, jnp.zeros(out.shape, out.dtype), length=calls, unroll=2)[0]

    return chain


def no_attention(q_btnh: jax.Array, *_: Any, **__: Any) -> Attended:
    """Stands in for `attend` where the rest of a program is measured: the queries as they are."""
    return Attended(q_btnh, jnp.zeros_like(q_btnh[..., 0], jnp.float32).swapaxes(1, 2))
