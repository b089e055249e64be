"""A block and its attention, as Flax Linen modules over stacked parameters.

Every parameter carries the layers of its stack on a leading axis and a module is called with the index of its layer:
the layer loop closes over the whole stack and copies no slice of it between iterations.

Axes: B batch, T tokens, D model width, N query heads, K key-value heads, H head size, L layers.
"""

from __future__ import annotations

from typing import Any

import jax
from flax import linen as nn

from attention.gated_delta import GatedDelta
from attention.mixer import Mixer
from attention.stacked import LayerOf
from refmodel.attend_layer import LayerIndex, Projected, StepInput, attend_layer
from refmodel.delta_net import DeltaNet
from refmodel.feed_forward import DenseAndExperts, FeedForward, MixtureOfExperts
from refmodel.kernels.norm_rope import norm_and_rope
from refmodel.kernels.projection import project
from refmodel.norm import rms_norm
from refmodel.parts import Dense, Experts
from refmodel.rope import apply_rope
from refmodel.stacked_module import OutScale, RMSNorm, Stacked


class NormAndRope(Stacked):
    """The norm of each head and its rotation (Qwen3's qk-norm)."""

    @nn.compact
    def __call__(self, x_btnh: jax.Array, layer: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
        return norm_and_rope(x_btnh, LayerOf(self.stack("scale"), layer), angles, self.spec.norm)


class Attention(Stacked):
    """Grouped-query attention with optional qk-norm, rotary positions and gate; the cache comes in and goes out."""

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, index: LayerIndex, step: StepInput, mixer: Mixer, stack: Any
    ) -> tuple[jax.Array, Any]:
        spec, layer = self.spec, index.of_kind
        names = ("q", "k", *(() if spec.value_is_key else ("v",)), *(("gate",) if spec.gated else ()))
        projected = zip(names, project(x_btd, tuple(map(self.stack, names)), layer), strict=True)
        of = {name: self.biased(layer, name, one) for name, one in projected}
        q_btnh, k_btkh, v_btkh = of["q"], of["k"], of["k" if spec.value_is_key else "v"]
        if spec.value_norm:
            v_btkh = rms_norm(v_btkh, None, spec.norm)
        angles, q_angles = step.angles, step.angles
        if spec.query_factor != 1:  # in float32, and rounded no more often than without
            cos, sin = angles
            q_angles = spec.query_factor * cos, spec.query_factor * sin
        if spec.qk_norm:
            shared = (spec, self.n_stack, self.dtype)
            q_btnh = NormAndRope(*shared, "attn.q_norm", name="q_norm")(q_btnh, layer, q_angles)
            k_btkh = NormAndRope(*shared, "attn.k_norm", name="k_norm")(k_btkh, layer, angles)
        else:
            q_btnh, k_btkh = apply_rope(q_btnh, q_angles), apply_rope(k_btkh, angles)
        params = {name: self.at(layer, name) for name in spec.with_mixer(mixer).attention_params}
        with jax.named_scope("attention"):
            inputs = Projected(x_btd, q_btnh, k_btkh, v_btkh)
            attended, stack = attend_layer(spec, mixer, inputs, params, step, stack, index)
        out_btnh = attended.out_btnh
        if spec.gated:
            out_btnh *= nn.sigmoid(of["gate"])
        (out_btd,) = project(out_btnh, (self.stack("o"),), layer, axes=2)
        return self.biased(layer, "o", out_btd), stack

    def biased(self, layer: jax.Array, name: str, projected: jax.Array) -> jax.Array:
        """With the bias of the projection `name`, where it has one."""
        return projected + self.at(layer, f"{name}_bias") if name in self.spec.attention_bias else projected


class Block(Stacked):
    """One layer: x + mixer(norm(x)), then x + feed-forward(norm(x)); Gemma norms what is added, too."""

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, index: LayerIndex, step: StepInput, mixer: Mixer, stack: Any
    ) -> tuple[jax.Array, Any]:
        shared, layer = (self.spec, self.n_stack, self.dtype), index.of_kind

        def norm(name: str, x_btd: jax.Array) -> jax.Array:
            return RMSNorm(*shared, name, name=name)(x_btd, layer)

        normed_btd = norm("attn_norm", x_btd)
        if isinstance(mixer, GatedDelta):
            added_btd, stack = DeltaNet(*shared, "attn", name="attn")(normed_btd, index, step, mixer, stack)
        else:
            added_btd, stack = Attention(*shared, "attn", name="attn")(normed_btd, index, step, mixer, stack)
        x_btd += norm("attn_post_norm", added_btd) if self.spec.norm.after else added_btd
        normed_btd = norm("ffn_norm", x_btd)
        match self.spec.feed_forward:
            case Experts(beside=Dense()):
                added_btd = DenseAndExperts(*shared, "ffn", name="ffn")(normed_btd, layer, x_btd)
            case Experts():
                added_btd = MixtureOfExperts(*shared, "ffn", name="ffn")(normed_btd, layer)
            case Dense():
                added_btd = FeedForward(*shared, "ffn", name="ffn")(normed_btd, layer)
        x_btd += norm("ffn_post_norm", added_btd) if self.spec.norm.after else added_btd
        return (OutScale(*shared, "out", name="out")(x_btd, layer) if self.spec.out_scale else x_btd), stack
