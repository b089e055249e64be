"""One layer's attention between its projections: cache in, attention under the layer's variant, cache out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax

from attention.attended import Attended, AttendFn
from attention.eviction.base import Eviction
from attention.eviction.chunks import attend_in_chunks
from attention.eviction.kept import Kept
from attention.variant import LayerInput, Variant
from refmodel.cache import LayerCache, extend, read_layer, write_layer
from refmodel.layer_spec import LayerSpec


class StepInput(NamedTuple):
    """What every layer of a step shares.

    Attributes:
        q_pos_bt: positions of the step's tokens, [B or 1, T]; -1 is padding.
        angles: cos and sin of those positions, in the layer that reads them.
        length: tokens per row that the cache held before this step.
        attend: `attention.attend.attend` or a function with its signature.
        first: whether the cache is known to be empty, so that only the step's own keys are there to see.
        in_order: whether, besides, the step's tokens are known to stand at positions 0, 1, 2, ...
        n_layers: layers of the model.
    """

    q_pos_bt: jax.Array
    angles: tuple[jax.Array, jax.Array]
    length: jax.Array
    attend: AttendFn
    first: bool = False
    in_order: bool = False
    n_layers: int = 1


class LayerIndex(NamedTuple):
    """Where a layer is, each an int32: in the stack of its kind, in the cache of its run, in the model."""

    of_kind: jax.Array
    of_run: jax.Array
    depth: jax.Array


class Projected(NamedTuple):
    """A layer's input [B, T, D] after its norm; queries [B, T, N, H], keys and values [B, T, K, H], rotary applied."""

    x_btd: jax.Array
    q_btnh: jax.Array
    k_btkh: jax.Array
    v_btkh: jax.Array


def attend_layer(
    spec: LayerSpec,
    variant: Variant,
    inputs: Projected,
    params: Mapping[str, jax.Array],
    step: StepInput,
    stack: LayerCache | Kept,
    index: LayerIndex,
) -> tuple[Attended, LayerCache | Kept]:
    """The step's attention in the layer at `index`, and its run's cache with what later steps need.

    `params` are the variant's own, of this layer.
    """
    x_btd, q_btnh, k_btkh, v_btkh = inputs
    if isinstance(variant, Eviction):
        in_order = variant.keys_in_order(step.first, step.n_layers)
        attend = partial(step.attend, order="keys") if in_order else step.attend
        kept = read_layer(stack, index.of_run)
        depth = (index.depth, step.n_layers)
        attended, kept = attend_in_chunks(
            variant, attend, kept, q_btnh, k_btkh, v_btkh, step.q_pos_bt, step.length, depth, spec.rope.theta
        )
        return attended, write_layer(stack, kept, index.of_run)
    own = LayerCache(k_btkh, v_btkh, step.q_pos_bt[:, None])
    seen, stack = extend(stack, index.of_run, own, step.length, variant.pattern(), step.first)
    layer = LayerInput(x_btd, q_btnh, seen.keys, seen.values, step.q_pos_bt, seen.positions, params, index.depth)
    return variant.attend(partial(step.attend, order="prompt") if step.in_order else step.attend, layer), stack
