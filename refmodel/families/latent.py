"""Models with latent attention (MLA), counted and not run: GLM-4.7-Flash, Kimi-Linear and DeepSeek-V3.2.

Keys and values are projected from one latent vector of R numbers a token, which is what the cache holds, beside the one
key that is rotated (DeepSeek-AI, 2405.04434).  In prefill every head has keys of its own, wider than its values: a pair
costs 2·(Hqk + Hv) FLOPs, as a head of (Hqk + Hv) / 2 would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from attention.cost import Heads
from attention.full import Full
from refmodel.layer_spec import LayerSpec
from refmodel.parameters import Parameter, Table, feed_forward_rows, vectors
from refmodel.parts import Dense, Experts, FeedForward
from refmodel.specification import ModelConfig


@dataclass(frozen=True)
class _Latent:
    """Sizes of a layer's attention: query latent (0: none), latent of keys and values, key with and without positions,
    value."""

    n_heads: int
    q_rank: int
    rank: int
    nope: int
    rope: int
    value: int

    def heads(self, d: int) -> Heads:
        return Heads(self.n_heads, self.n_heads, (self.nope + self.rope + self.value) // 2, d)

    def rows(self, d: int) -> Table:
        n, key = self.n_heads, self.nope + self.rope
        queries = (
            [_matrix("q_a", d, self.q_rank), _matrix("q_b", self.q_rank, n * key)]
            if self.q_rank
            else [_matrix("q", d, n * key)]
        )
        return (
            *queries,
            _matrix("kv_a", d, self.rank + self.rope),
            _matrix("kv_b", self.rank, n * (self.nope + self.value)),
            _matrix("o", n * self.value, d),
            vectors("attn.norms", self.q_rank + self.rank),
        )


def _matrix(name: str, rows: int, columns: int) -> Parameter:
    return Parameter(f"attn.{name}", ("in", "out"), (rows, columns), ("in",), "attention_projections")


def _layer(latent: _Latent, d: int, feed_forward: FeedForward) -> LayerSpec:
    told = (*latent.rows(d), *_feed_forward(d, feed_forward), vectors("norms", 2 * d))
    return LayerSpec(Full(), latent.heads(d), feed_forward, told=told, told_kv_values=latent.rank + latent.rope)


def _feed_forward(d: int, feed_forward: FeedForward) -> Table:
    """Experts have one beside them that every token takes, and a bias in their choice."""
    rows = feed_forward_rows(d, feed_forward)
    if isinstance(feed_forward, Dense):
        return rows
    shared = Parameter("ffn.shared", ("embed", "mlp"), (d, 3 * feed_forward.d_expert), ("embed",), "feed_forward")
    return (*rows, shared, vectors("ffn.bias", feed_forward.n_experts))


def _delta_layer(d: int, n: int, h: int, feed_forward: FeedForward) -> LayerSpec:
    """Kimi Delta Attention: a Gated DeltaNet layer whose decay has a number a channel (Kimi Team, 2510.26692), counted
    in its sequential form."""
    inner, taps = n * h, 4
    told = (
        *(_matrix(name, d, inner) for name in "qkv"),
        _matrix("decay_a", d, h), _matrix("decay_b", h, inner),
        _matrix("gate_a", d, h), _matrix("gate_b", h, inner),
        _matrix("beta", d, n), _matrix("o", inner, d),
        Parameter("attn.conv", ("taps", "channels"), (taps, 3 * inner), ("taps",), "linear_attention"),
        Parameter(
            "attn.state", ("terms", "heads", "key_dim", "head_dim"), (3, n, h, h), ("key_dim",), "linear_attention",
            copies=0,
        ),
        *_feed_forward(d, feed_forward),
        vectors("vectors", 2 * d + n + inner + h),
    )  # fmt: skip
    return LayerSpec(None, Heads(0, 0, 0, d), feed_forward, told=told)


_CANNOT: Final = "latent attention is not computed"


def _glm() -> ModelConfig:
    d, latent = 2048, _Latent(20, 768, 512, 192, 64, 256)
    first, rest = (_layer(latent, d, one) for one in (Dense(10_240), Experts(64, 4, 1536)))
    return ModelConfig(
        "glm-4.7-flash", (first, *46 * (rest,)), d, 154_880, headline_params=3_000_000_000, cannot_run=_CANNOT
    )


def _deepseek() -> ModelConfig:
    d, latent = 7168, _Latent(128, 1536, 512, 128, 64, 128)
    first, rest = (_layer(latent, d, one) for one in (Dense(18_432), Experts(256, 8, 2048)))
    return ModelConfig(
        "deepseek-v3.2", (*3 * (first,), *58 * (rest,)), d, 129_280, headline_params=37_000_000_000,
        cannot_run=_CANNOT, note="as if every layer saw all keys: without its indexer",
    )  # fmt: skip


def _kimi() -> ModelConfig:
    d, latent, experts = 2304, _Latent(32, 0, 512, 128, 64, 128), Experts(256, 8, 1024)
    delta, full = _delta_layer(d, 32, 128, experts), _layer(latent, d, experts)
    cycles = 6 * (*3 * (delta,), full)
    layers = (_delta_layer(d, 32, 128, Dense(9216)), *cycles[1:], delta, delta, full)
    return ModelConfig(
        "kimi-linear-48b-a3b", layers, d, 163_840, headline_params=3_000_000_000, cannot_run=_CANNOT,
        note="KDA state counted in its sequential form, and not in the cache",
    )  # fmt: skip


PRESETS: Final = (_glm(), _kimi(), _deepseek())
