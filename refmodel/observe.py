"""What the layers of a model do with a prompt: weights of keys, routes taken, whatever a function sees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp

from attention.attend import attend
from attention.attended import Attended, AttendFn
from attention.checks import of_kind, whole
from attention.cost import Heads
from attention.key_weights import key_weights
from attention.mixer import Mixer, MixerInput, StepContext
from attention.token_routed import Routed, RouteStatistics, route_statistics
from attention.variant import LayerInput
from refmodel.attend_layer import LayerIndex, StepInput
from refmodel.cache import init_cache
from refmodel.layers import Attention
from refmodel.model import Params, embed, hidden_states
from refmodel.rope import rope_angles
from refmodel.specification import ModelConfig, check_config
from refmodel.stacked_module import RMSNorm
from refmodel.token_ids import Ids, rows_of_ids
from refmodel.tree import check_params

__all__ = ["attention_weights", "observe", "observe_routed", "routes_taken"]

MOST_WEIGHTS: Final = 2**28
"""A gigabyte in float32: what is looked at, not what a long prompt has."""


def observe(
    config: ModelConfig,
    params: Params,
    tokens_bt: Ids,
    look: Callable[[Mixer, MixerInput, StepContext, Any, jax.Array], Any],
    layers: Collection[int],
    *,
    attend: AttendFn = attend,
) -> dict[int, Any]:
    """What a function sees of some layers, {layer: look(mixer, *what `Mixer.step` is called with)}, in one step.

    A second pass over those layers' inputs, outside the model's loop: differentiable, and none of the model's business.
    """
    check_config(config)
    check_params(params)
    tokens_bt = rows_of_ids(tokens_bt, config.vocab_size)
    config = config.at_length(tokens_bt.shape[1])
    batch, tokens = tokens_bt.shape
    dtype = params["embed"]["embedding"].dtype
    cache = init_cache(config, batch, tokens, dtype)
    outputs_lbtd = hidden_states(config, params, cache, tokens_bt, attend=attend, every_layer=True).layers_lbtd
    assert outputs_lbtd is not None
    inputs_lbtd = jnp.concatenate([embed(config, params, tokens_bt)[None], outputs_lbtd[:-1]])
    positions_bt = jnp.arange(tokens, dtype=jnp.int32)[None]

    seen: dict[int, Any] = {}
    for layer in layers:
        kind, spec = config.stacks[layer], config.layers[layer]
        assert spec.mixer is not None, spec
        angles = rope_angles(positions_bt, spec.heads.head_dim, spec.rope)
        step = StepInput(positions_bt, angles, jnp.int32(0), attend, True, True, config.n_layers)
        stacked, shared = params["blocks"][kind], (spec, config.stacks.count(kind), dtype)
        of_kind = jnp.int32(config.stacks[:layer].count(kind))
        x_btd = RMSNorm(*shared, "attn_norm").apply({"params": stacked["attn_norm"]}, inputs_lbtd[layer], of_kind)
        spy = _Spy(spec.mixer, look, seen, layer)
        stack = init_cache(config.one_layer(spec.mixer, kind), batch, tokens, dtype).runs[0]
        index = LayerIndex(of_kind, jnp.int32(0), jnp.int32(layer))
        Attention(*shared, "attn").apply({"params": stacked["attn"]}, x_btd, index, step, spy, stack)
    return seen


def attention_weights(
    config: ModelConfig,
    params: Params,
    tokens: Ids,
    layers: Collection[int],
    queries: Sequence[int] | None = None,
    *,
    attend: AttendFn = attend,
) -> dict[int, jax.Array]:
    """Weights of each token's value for each query, {layer: [B, N, Q, T]}, of a prompt in one step.

    As it runs: keys outside a window, not chosen or evicted have 0, and what a learned sink takes is missing in a sum.
    In float32, as exact as attention in the model's dtype is.

    Args:
        tokens: ids, [B, T] or [T] for a single prompt.
        layers: their numbers, from 0.
        queries: their places in the prompt (default: all of them).

    Raises:
        ValueError: ids that the vocabulary does not have, a layer that the model does not have or that is no attention,
            a query beyond the prompt, none of them, and more than `MOST_WEIGHTS` numbers.
    """
    check_config(config)
    tokens_bt = rows_of_ids(tokens, config.vocab_size).astype(jnp.int32)
    of_kind("layers: a collection of numbers", layers, Collection)
    n = tokens_bt.shape[1]
    of_kind("queries: a sequence of places, or None,", queries, Sequence | None)
    places = range(n) if queries is None else [whole("a query", query, 0, n - 1) for query in queries]
    if not places or not layers:
        raise ValueError("weights are of one query and one layer at least")
    _check_layers(config, layers)
    numbers = sum(tokens_bt.size * len(places) * config.layers[layer].heads.n_heads for layer in layers)
    if numbers > MOST_WEIGHTS:
        raise ValueError(
            f"weights of {len(places):,} queries for {tokens_bt.size:,} keys in {len(layers)} layers are {numbers:,} "
            f"numbers, at most {MOST_WEIGHTS:,} are given: name fewer queries or layers"
        )
    query_q = jnp.asarray(list(places), jnp.int32)

    def look(mixer: Mixer, inputs: MixerInput, now: StepContext, stack: Any, layer: jax.Array) -> jax.Array:
        def of_values(v_btkh: jax.Array) -> jax.Array:
            return mixer.step(inputs._replace(v_btkh=v_btkh), now, stack, layer)[0].out_btnh

        return key_weights(of_values, inputs.v_btkh, query_q).astype(jnp.float32)

    return observe(config, params, tokens_bt, look, layers, attend=attend)


def _check_layers(config: ModelConfig, layers: Collection[int]) -> None:
    for layer in layers:
        whole("a layer", layer, 0, config.n_layers - 1)
        mixer = config.layers[layer].mixer
        if mixer is None or mixer.component != "attention":
            raise ValueError(f"layer {layer} of {config.name} is {mixer}, which has no attention weights")


def observe_routed(
    config: ModelConfig,
    params: Params,
    tokens_bt: Ids,
    look: Callable[[Routed, LayerInput], Any],
    *,
    attend: AttendFn = attend,
) -> dict[int, Any]:
    """What a function sees of the token-routed layers, {layer: look(variant, its input)}, of a prompt in one step."""

    def at_routed(mixer: Any, *step: Any) -> Any:
        return look(mixer, mixer.layer_input(*step)[0])

    check_config(config)
    routed = [i for i, layer in enumerate(config.layers) if isinstance(layer.mixer, Routed)]
    return observe(config, params, tokens_bt, at_routed, routed, attend=attend)


def routes_taken(
    config: ModelConfig, params: Params, tokens_bt: Ids, *, attend: AttendFn = attend
) -> dict[int, RouteStatistics]:
    """Shares of the routes and mean visible keys in each token-routed layer, for a prompt in one step."""

    def look(variant: Routed, layer: LayerInput) -> RouteStatistics:
        return route_statistics(variant, variant.routes(layer), layer.q_pos_bt)

    return observe_routed(config, params, tokens_bt, look, attend=attend)


@dataclass(frozen=True)
class _Spy(Mixer):
    """Stands in for a mixer in one call of `Attention`: looks at the step, computes nothing."""

    mixer: Mixer
    look: Callable[..., Any]
    seen: dict[int, Any]
    layer: int

    def params(self, heads: Heads) -> Mapping[str, tuple[int, ...]]:
        return self.mixer.params(heads)

    def step(self, inputs: MixerInput, now: StepContext, stack: Any, layer: jax.Array) -> tuple[Attended, Any]:
        self.seen[self.layer] = self.look(self.mixer, inputs, now, stack, layer)
        return Attended(jnp.zeros_like(inputs.q_btnh)), stack
