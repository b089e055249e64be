"""A Gated DeltaNet layer around its recurrence (2412.06464): projections, and a norm that is gated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from attention.gated_delta import GatedDelta
from refmodel.attend_layer import LayerIndex, Projected, StepInput, attend_layer
from refmodel.kernels.projection import project
from refmodel.norm import rms_norm
from refmodel.parts import Norm
from refmodel.stacked_module import Stacked


class DeltaNet(Stacked):
    """(RMSNorm(o)·w · silu(x·z))·out, where o is what `attention.gated_delta.GatedDelta` makes of x·q, x·k, x·v, x·a|b.

    This norm's factor is w itself, whatever the block's norms add to theirs.
    """

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, index: LayerIndex, step: StepInput, mixer: GatedDelta, stack: Any
    ) -> tuple[jax.Array, Any]:
        spec, layer = self.spec, index.of_kind
        q_btnh, k_btnh, v_btmh, z_btmh, a_btm, b_btm = project(x_btd, tuple(map(self.stack, "qkvzab")), layer)
        params = {name: self.at(layer, name) for name in mixer.params(spec.heads)}
        with jax.named_scope("linear_attention"):
            inputs = Projected(jnp.concatenate([a_btm, b_btm], axis=-1), q_btnh, k_btnh, v_btmh)
            mixed, stack = attend_layer(spec, mixer, inputs, params, step, stack, index)
        normed_btmh = GatedNorm(spec, self.n_stack, self.dtype, "attn.norm", name="norm")(mixed.out_btnh, z_btmh, layer)
        (out_btd,) = project(normed_btmh, (self.stack("o"),), layer, axes=2)
        return out_btd, stack


class GatedNorm(Stacked):
    """RMSNorm(x)·w · silu(z) over each head; the gate in float32."""

    @nn.compact
    def __call__(self, x_btmh: jax.Array, z_btmh: jax.Array, layer: jax.Array) -> jax.Array:
        normed_btmh = rms_norm(x_btmh, self.at(layer, "scale"), Norm(self.spec.norm.eps))
        return (normed_btmh * nn.silu(z_btmh.astype(jnp.float32))).astype(x_btmh.dtype)
