"""What the token-routed layers of a model do with a prompt: routes taken, prices of gates, whatever a function sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from attention.attend import attend
from attention.attended import Attended, AttendFn
from attention.cost import Heads
from attention.mixer import Mixer, MixerInput, StepContext
from attention.token_routed import Routed, RouteStatistics, route_statistics
from attention.variant import LayerInput
from refmodel.attend_layer import LayerIndex, StepInput
from refmodel.cache import init_cache
from refmodel.layers import Attention
from refmodel.model import Params, embed, hidden_states
from refmodel.rope import rope_angles
from refmodel.specification import ModelConfig
from refmodel.stacked_module import RMSNorm


def observe_routed(
    config: ModelConfig,
    params: Params,
    tokens_bt: jax.Array,
    look: Callable[[Routed, LayerInput], Any],
    *,
    attend: AttendFn = attend,
) -> dict[int, Any]:
    """{layer: look(variant, its input)} for the token-routed layers, of a prompt in one step.

    A second pass over those layers' inputs, outside the model's loop: differentiable, and none of the model's business.
    """
    config = config.at_length(tokens_bt.shape[1])
    batch, tokens = tokens_bt.shape
    dtype = params["embed"]["embedding"].dtype
    cache = init_cache(config, batch, tokens, dtype)
    outputs_lbtd = hidden_states(config, params, cache, tokens_bt, attend=attend, every_layer=True).layers_lbtd
    assert outputs_lbtd is not None
    inputs_lbtd = jnp.concatenate([embed(config, params, tokens_bt)[None], outputs_lbtd[:-1]])
    positions_bt = jnp.arange(tokens, dtype=jnp.int32)[None]

    seen: dict[int, Any] = {}
    for layer, (kind, spec) in enumerate(zip(config.stacks, config.layers, strict=True)):
        variant = spec.mixer
        if not isinstance(variant, Routed):
            continue
        angles = rope_angles(positions_bt, spec.heads.head_dim, spec.rope)
        step = StepInput(positions_bt, angles, jnp.int32(0), attend, n_layers=config.n_layers)
        stacked, shared = params["blocks"][kind], (spec, config.stacks.count(kind), dtype)
        of_kind = jnp.int32(config.stacks[:layer].count(kind))
        x_btd = RMSNorm(*shared, "attn_norm").apply({"params": stacked["attn_norm"]}, inputs_lbtd[layer], of_kind)
        spy = _Spy(variant, look, seen, layer)
        stack = init_cache(config.one_layer(variant, kind), batch, tokens, dtype).runs[0]
        index = LayerIndex(of_kind, jnp.int32(0), jnp.int32(layer))
        Attention(*shared, "attn").apply({"params": stacked["attn"]}, x_btd, index, step, spy, stack)
    return seen


def routes_taken(
    config: ModelConfig, params: Params, tokens_bt: jax.Array, *, attend: AttendFn = attend
) -> dict[int, RouteStatistics]:
    """Shares of the routes and mean visible keys in each token-routed layer, for a prompt in one step."""

    def look(variant: Routed, layer: LayerInput) -> RouteStatistics:
        return route_statistics(variant, variant.routes(layer), layer.q_pos_bt)

    return observe_routed(config, params, tokens_bt, look, attend=attend)


@dataclass(frozen=True)
class _Spy(Mixer):
    """Stands in for a variant in one call of `Attention`: looks at the input, computes nothing."""

    variant: Routed
    look: Callable[[Routed, LayerInput], Any]
    seen: dict[int, Any]
    layer: int

    def params(self, heads: Heads) -> Mapping[str, tuple[int, ...]]:
        return self.variant.params(heads)

    def step(self, inputs: MixerInput, now: StepContext, stack: Any, layer: jax.Array) -> tuple[Attended, Any]:
        operands, keep = self.variant.layer_input(inputs, now, stack, layer)
        self.seen[self.layer] = self.look(self.variant, operands)
        attended = Attended(jnp.zeros_like(inputs.q_btnh))
        return attended, keep(attended)
