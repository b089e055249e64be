"""The parts of a block, as Flax Linen modules over stacked parameters.

Every parameter carries the layers of its stack on a leading axis and a module is called with the index of its layer:
the layer loop closes over the whole stack and copies no slice of it between iterations.

Axes: B batch, T tokens, D model width, N query heads, K key-value heads, H head size, F feed-forward width, L layers.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Float32, Int

from attention.gated_delta import GatedDelta
from attention.mixer import Mixer
from attention.stacked import LayerOf
from refmodel.attend_layer import LayerIndex, Projected, StepInput, attend_layer
from refmodel.delta_net import DeltaNet
from refmodel.gating import gated
from refmodel.kernels.choose_experts import choose_experts
from refmodel.kernels.grouped import Biases, expert_ffn
from refmodel.kernels.norm_rope import norm_and_rope
from refmodel.kernels.projection import project
from refmodel.parts import Dense, Experts
from refmodel.rope import apply_rope
from refmodel.stacked_module import RMSNorm, Stacked


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
        names = ("q", "k", "v", "gate") if spec.gated else ("q", "k", "v")
        projected = project(x_btd, tuple(map(self.stack, names)), layer)
        q_btnh, k_btkh, v_btkh, *gate = (self.biased(layer, *one) for one in zip(names, projected, strict=True))
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
            out_btnh *= nn.sigmoid(gate[0])
        (out_btd,) = project(out_btnh, (self.stack("o"),), layer, axes=2)
        return self.biased(layer, "o", out_btd), stack

    def biased(self, layer: jax.Array, name: str, projected: jax.Array) -> jax.Array:
        """With the bias of the projection `name`, where it has one."""
        return projected + self.at(layer, f"{name}_bias") if name in self.spec.attention_bias else projected


class FeedForward(Stacked):
    """gated(x·gate, x·up)·down (`refmodel.gating`); SwiGLU where the activation is silu (Shazeer, 2002.05202)."""

    @nn.compact
    def __call__(self, x_btd: jax.Array, layer: jax.Array) -> jax.Array:
        assert isinstance(self.spec.feed_forward, Dense)
        dense = self.spec.feed_forward

        def products(x: jax.Array, *names: str) -> list[jax.Array]:
            out = project(x, tuple(map(self.stack, names)), layer)
            return [y + self.at(layer, f"{name}_bias") if dense.bias else y for name, y in zip(names, out, strict=True)]

        gate, up = products(x_btd, "gate", "up")
        (down,) = products(gated(gate, up, dense.activation), "down")
        return down


class MixtureOfExperts(Stacked):
    """Top-k of E gated experts per token, none dropped (Qwen3-MoE, 2505.09388); and a shared one, where there is."""

    @nn.compact
    def __call__(self, x_btd: jax.Array, layer: jax.Array) -> jax.Array:
        assert isinstance(self.spec.feed_forward, Experts)
        (b, t, d), experts = x_btd.shape, self.spec.feed_forward
        x_rd = x_btd.reshape(b * t, d)
        with jax.named_scope("router"):
            bias_e = self.at(layer, "router_bias") if experts.bias else None
            expert_rk, weight_rk = route(x_btd, self.stack("router"), layer, experts, bias_e)
        biases: Biases = ()
        if experts.bias:
            biases = self.stack("gate_bias"), self.stack("up_bias"), self.stack("down_bias")
        gate, up, down = map(self.stack, ("gate", "up", "down"))
        out_rd = expert_ffn(x_rd, expert_rk, weight_rk, gate, up, down, layer, biases, activation=experts.activation)
        out_btd = out_rd.reshape(b, t, d)
        return out_btd + self.shared(x_btd, layer) if experts.d_shared else out_btd

    def shared(self, x_btd: jax.Array, layer: jax.Array) -> jax.Array:
        """sigmoid(x·w) times the expert that every token meets."""
        names = "shared_gate", "shared_up", "shared_weight"
        gate, up, weight = project(x_btd, tuple(map(self.stack, names)), layer)
        (down,) = project(nn.silu(gate) * up, (self.stack("shared_down"),), layer)
        return nn.sigmoid(weight) * down


def route(
    x_btd: Float[Array, "b t d"],
    router_lde: Float[Array, "l d e"],
    layer: Int[Array, ""],
    experts: Experts,
    bias_e: Float[Array, " e"] | None = None,
) -> tuple[Int[Array, "rows k"], Float32[Array, "rows k"]]:
    """Chosen experts and their float32 weights, each [B * T, experts per token].

    Sums in float32 at full precision: in tf32 or bfloat16 the eighth and ninth expert change places between platforms.
    Products of bfloat16 operands are exact in float32, so those stay what they are: matrix units take them.
    """
    (logits_bte,) = project(x_btd, (router_lde,), layer, exact=True)
    logits_re = logits_bte.reshape(-1, logits_bte.shape[-1])
    if bias_e is not None:
        logits_re += bias_e.astype(jnp.float32)
    weight_rk, expert_rk = choose_experts(logits_re, experts.experts_per_token, experts.norm_topk_prob)
    return expert_rk, weight_rk


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
        ffn = (MixtureOfExperts if isinstance(self.spec.feed_forward, Experts) else FeedForward)(
            *shared, "ffn", name="ffn"
        )
        added_btd = ffn(norm("ffn_norm", x_btd), layer)
        return x_btd + (norm("ffn_post_norm", added_btd) if self.spec.norm.after else added_btd), stack
