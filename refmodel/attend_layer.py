"""One layer's attention between its projections: states in, a step of the layer's mixer, states out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from attention.attended import Attended, AttendFn
from attention.cost import Depth
from attention.mixer import Mixer, MixerInput, StepContext
from attention.sink_logits import with_sink_logits
from refmodel.layer_spec import LayerSpec
from refmodel.rope import turned


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
    """A layer's input [B, T, D] after its norm; queries [B, T, N, H], keys and values [B, T, K, H], rotary applied.

    Of a layer whose projections are its mixer's: what `attention.mixer.Mixer.operands` says.
    """

    x_btd: jax.Array
    q_btnh: jax.Array
    k_btkh: jax.Array
    v_btkh: jax.Array


def attend_layer(
    spec: LayerSpec,
    mixer: Mixer,
    inputs: Projected,
    params: Mapping[str, jax.Array],
    step: StepInput,
    stack: Any,
    index: LayerIndex,
) -> tuple[Attended, Any]:
    """The step's attention in the layer at `index`, and its run's states with what later steps need.

    `params` are those of `LayerSpec.attention_params`, of this layer.
    """
    attend = with_sink_logits(step.attend, params["sinks"]) if spec.sink_logits else step.attend
    depth = Depth(index.depth, step.n_layers)
    plain = spec.rope.scaling is None and spec.rope.share == 1  # who turns queries back knows no other positions
    theta = spec.rope.theta if plain else None

    def rotate(x_btmh: jax.Array, pos_bt: jax.Array) -> jax.Array:
        return turned(x_btmh, pos_bt, spec.heads.head_dim, spec.rope)

    now = StepContext(step.q_pos_bt, step.length, attend, depth, step.first, step.in_order, theta, rotate)
    return mixer.step(MixerInput(*inputs, params), now, stack, index.of_run)
