"""The hybrids Qwen3-Next and Qwen3.5, counted and not run: three Gated DeltaNet layers to one of gated attention."""

from __future__ import annotations

from typing import Final

from attention.cost import Heads
from attention.full import Full
from refmodel.layer_spec import LayerSpec
from refmodel.parameters import Parameter, Table, attention_rows, expert_rows, vectors
from refmodel.parts import Experts
from refmodel.specification import ModelConfig


def _delta_net(d: int, experts: Experts) -> LayerSpec:
    """A Gated DeltaNet layer with 16 key heads and 32 value heads of 128 (Yang et al., 2412.06464).

    The recurrence in its sequential form: read S·k, write v·k', read S·q, 3 H² a value head and token.  The chunked
    form that runs on matrix units does more.
    """
    key_heads, value_heads, h, conv = 16, 32, 128, 4
    key_dim, value_dim = key_heads * h, value_heads * h
    told = (
        _matrix("in", d, 2 * key_dim + 2 * value_dim + 2 * value_heads),
        _matrix("out", value_dim, d),
        Parameter("attn.conv", ("taps", "channels"), (conv, 2 * key_dim + value_dim), ("taps",), "linear_attention"),
        Parameter(
            "attn.state", ("terms", "value_heads", "key_dim", "head_dim"), (3, value_heads, h, h), ("key_dim",),
            "linear_attention", copies=0,
        ),
        *_feed_forward(d, experts),
        vectors("vectors", 2 * d + 2 * value_heads + h),
    )  # fmt: skip
    return LayerSpec(None, Heads(0, 0, 0, d), experts, told=told)


def _gated_attention(d: int, experts: Experts) -> LayerSpec:
    """The full-attention layer of the same hybrids: 16 query heads of 256 with an output gate as wide, 2 key heads."""
    heads = Heads(16, 2, 256, d)
    told = (
        *attention_rows(heads),
        _matrix("gate", d, heads.n_heads * heads.head_dim),
        *_feed_forward(d, experts),
        vectors("vectors", 2 * d + 2 * heads.head_dim),
    )
    return LayerSpec(Full(), heads, experts, told=told)


def _matrix(name: str, rows: int, columns: int) -> Parameter:
    return Parameter(f"attn.{name}", ("in", "out"), (rows, columns), ("in",), "attention_projections")


def _feed_forward(d: int, experts: Experts) -> Table:
    """The experts, and the shared one with its gate."""
    shared = Parameter("ffn.shared", ("embed", "mlp"), (d, 3 * experts.d_expert + 1), ("embed",), "feed_forward")
    return (*expert_rows(d, experts), shared)


def _hybrid(name: str, n_layers: int, experts: Experts, vocab: int) -> ModelConfig:
    d = 2048
    cycle = (*3 * (_delta_net(d, experts),), _gated_attention(d, experts))
    return ModelConfig(
        name, cycle * (n_layers // 4), d, vocab, headline_params=3_000_000_000,
        cannot_run="Gated DeltaNet layers are not computed",
        note="DeltaNet state counted in its sequential form; one shared expert under feed_forward",
    )  # fmt: skip


PRESETS: Final = (
    _hybrid("qwen3.5-35b-a3b", 40, Experts(256, 8, 512), 248_320),
    _hybrid("qwen3-next-80b-a3b", 48, Experts(512, 10, 512), 151_936),
)
